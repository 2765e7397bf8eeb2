package api

import (
	"cmp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// Ephemeral containers are added to a Pod; nothing of it changes by that way, and none of them goes again.
func TestEphemeralContainers(t *testing.T) {
	const path = "/api/v1/namespaces/default/pods/p/ephemeralcontainers"
	const look = `{"name":"look","image":"i","targetContainerName":"c"}`
	tests := map[string]struct {
		method, media, body string
		code                int
		message             string
		names               string // in the end; "had" is there before
	}{
		"one more":            {body: `{"spec":{"ephemeralContainers":[` + look + `]}}`, code: 200, names: "had look"},
		"a JSON patch":        {media: jsonPatchType, body: `[{"op":"add","path":"/spec/ephemeralContainers/-","value":` + look + `}]`, code: 200, names: "had look"},
		"a dry run":           {body: `{"spec":{"ephemeralContainers":[` + look + `]}}`, code: 200, names: "had"},
		"other fields":        {body: `{"metadata":{"labels":{"x":"y"}},"spec":{"nodeName":"x","ephemeralContainers":[` + look + `]}}`, code: 200, names: "had look"},
		"one away":            {media: mergePatchType, body: `{"spec":{"ephemeralContainers":[]}}`, code: 422, message: "may not be removed", names: "had"},
		"one changed":         {body: `{"spec":{"ephemeralContainers":[{"name":"had","image":"other"}]}}`, code: 422, message: "may not be changed", names: "had"},
		"a name that is used": {body: `{"spec":{"ephemeralContainers":[{"name":"c","image":"i"}]}}`, code: 422, message: "Duplicate value", names: "had"},
		"ports":               {body: `{"spec":{"ephemeralContainers":[{"name":"look","image":"i","ports":[{"containerPort":80}]}]}}`, code: 422, message: "ports", names: "had"},
		"beside nobody":       {body: `{"spec":{"ephemeralContainers":[{"name":"look","image":"i","targetContainerName":"z"}]}}`, code: 422, message: "targetContainerName", names: "had"},
		"another version":     {body: `{"metadata":{"resourceVersion":"1"},"spec":{"ephemeralContainers":[` + look + `]}}`, code: 409, names: "had"},
		"a whole object":      {method: "PUT", media: jsonType, body: `{"metadata":{"name":"p"},"spec":{"ephemeralContainers":[{"name":"had","image":"i"},` + look + `]}}`, code: 200, names: "had look"},
		"no list":             {body: `{"spec":{"ephemeralContainers":7}}`, code: 400, names: "had"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := newPlace(t)
			key := reconcile.Key{Kind: reconcile.KindPod, Namespace: "default", Name: "p"}
			pod := manifests.Decode("p.yaml", []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n")).Objects[0].Object.(*corev1.Pod)
			pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "had", Image: "i"}}}
			manifests.Scheme().Default(pod)
			if err := p.store.Create(key, pod, nil); err != nil {
				t.Fatal(err)
			}
			query := ""
			if name == "a dry run" {
				query = "?dryRun=All"
			}
			code, out, _ := askTo(s, cmp.Or(tt.method, "PATCH"), path+query, cmp.Or(tt.media, strategicType), tt.body)
			if message, _ := out["message"].(string); code != tt.code || !strings.Contains(message, tt.message) {
				t.Errorf("got %d %v, want %d %s", code, out, tt.code, tt.message)
			}
			now, _ := store.Get[*corev1.Pod](p.store, key)
			var names []string
			for _, c := range now.Spec.EphemeralContainers {
				if names = append(names, c.Name); c.TerminationMessagePath == "" {
					t.Errorf("%s has no defaults", c.Name)
				}
			}
			if strings.Join(names, " ") != tt.names || len(now.Labels) > 0 || now.Spec.NodeName != "" {
				t.Errorf("the pod has %q, want %q; %v", names, tt.names, now.ObjectMeta)
			}
			if code, out, _ := askTo(s, "GET", path, "", ""); code != 200 || out["kind"] != "Pod" {
				t.Errorf("read: %d %v", code, out)
			}
		})
	}
}
