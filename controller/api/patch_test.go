package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

func fromJSON(t *testing.T, text string) (v any) {
	t.Helper()
	if err := utiljson.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func TestJSONPatch(t *testing.T) {
	tests := map[string]struct{ doc, patch, want string }{
		"add":            {`{"a":1}`, `[{"op":"add","path":"/b","value":[1]}]`, `{"a":1,"b":[1]}`},
		"append":         {`{"a":[1]}`, `[{"op":"add","path":"/a/-","value":2}]`, `{"a":[1,2]}`},
		"insert":         {`{"a":[1]}`, `[{"op":"add","path":"/a/0","value":0}]`, `{"a":[0,1]}`},
		"replace":        {`{"a":[1,{"b":2}]}`, `[{"op":"replace","path":"/a/1/b","value":null}]`, `{"a":[1,{"b":null}]}`},
		"replace none":   {`{}`, `[{"op":"replace","path":"/a","value":1}]`, ``},
		"remove":         {`{"a":[1,2,3]}`, `[{"op":"remove","path":"/a/1"}]`, `{"a":[1,3]}`},
		"remove none":    {`{}`, `[{"op":"remove","path":"/a"}]`, ``},
		"escapes":        {`{"a/b":{"~":1}}`, `[{"op":"replace","path":"/a~1b/~0","value":2}]`, `{"a/b":{"~":2}}`},
		"test":           {`{"a":1}`, `[{"op":"test","path":"/a","value":1}]`, `{"a":1}`},
		"test fails":     {`{"a":1}`, `[{"op":"test","path":"/a","value":2}]`, ``},
		"move":           {`{"a":1}`, `[{"op":"move","from":"/a","path":"/b"}]`, `{"b":1}`},
		"copy":           {`{"a":{"x":1}}`, `[{"op":"copy","from":"/a","path":"/b"},{"op":"add","path":"/b/y","value":2}]`, `{"a":{"x":1},"b":{"x":1,"y":2}}`},
		"out of range":   {`{"a":[1]}`, `[{"op":"add","path":"/a/2","value":0}]`, ``},
		"below a scalar": {`{"a":1}`, `[{"op":"add","path":"/a/b","value":0}]`, ``},
		"no parent":      {`{}`, `[{"op":"add","path":"/a/b","value":0}]`, ``},
		"another verb":   {`{}`, `[{"op":"burn","path":"/a"}]`, ``},
	}
	for name, tt := range tests {
		var ops []operation
		if err := json.Unmarshal([]byte(tt.patch), &ops); err != nil {
			t.Fatal(err)
		}
		got, err := jsonPatch(fromJSON(t, tt.doc), ops)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		if diff := cmp.Diff(fromJSON(t, tt.want), got); diff != "" || err != nil {
			t.Errorf("%s: (-want +got)\n%s\n%v", name, diff, err)
		}
	}
}

func TestStrategicMerge(t *testing.T) {
	const pod = `{"spec":{"containers":[{"name":"a","image":"x","args":["1"],"env":[{"name":"E","value":"1"}]},{"name":"b","image":"y"}],"nodeSelector":{"k":"v"}},"metadata":{"finalizers":["f","g"]}}`
	tests := map[string]struct{ patch, path, want string }{
		"an image":             {`{"spec":{"containers":[{"name":"b","image":"z"}]}}`, "containers", `[{"name":"a","image":"x","args":["1"],"env":[{"name":"E","value":"1"}]},{"name":"b","image":"z"}]`},
		"a new container":      {`{"spec":{"containers":[{"name":"c","image":"z"}]}}`, "containers", `[{"name":"a","image":"x","args":["1"],"env":[{"name":"E","value":"1"}]},{"name":"b","image":"y"},{"name":"c","image":"z"}]`},
		"one less":             {`{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}`, "containers", `[{"name":"b","image":"y"}]`},
		"replaced":             {`{"spec":{"containers":[{"name":"c"},{"$patch":"replace"}]}}`, "containers", `[{"name":"c"}]`},
		"in another order":     {`{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"b","image":"z"}]}}`, "containers", `[{"name":"b","image":"z"},{"name":"a","image":"x","args":["1"],"env":[{"name":"E","value":"1"}]}]`},
		"an atomic list":       {`{"spec":{"containers":[{"name":"a","args":["2"]}]}}`, "containers", `[{"name":"a","image":"x","args":["2"],"env":[{"name":"E","value":"1"}]},{"name":"b","image":"y"}]`},
		"a nested list":        {`{"spec":{"containers":[{"name":"a","env":[{"name":"F","value":"2"}]}]}}`, "containers", `[{"name":"a","image":"x","args":["1"],"env":[{"name":"E","value":"1"},{"name":"F","value":"2"}]},{"name":"b","image":"y"}]`},
		"null":                 {`{"spec":{"nodeSelector":null}}`, "nodeSelector", `null`},
		"a map's key":          {`{"spec":{"nodeSelector":{"k":null,"l":"w"}}}`, "nodeSelector", `{"l":"w"}`},
		"a map replaced":       {`{"spec":{"nodeSelector":{"$patch":"replace","l":"w"}}}`, "nodeSelector", `{"l":"w"}`},
		"kept keys":            {`{"spec":{"nodeSelector":{"$retainKeys":["l"],"l":"w"}}}`, "nodeSelector", `{"l":"w"}`},
		"without its key":      {`{"spec":{"containers":[{"image":"z"}]}}`, "", ``},
		"an unknown directive": {`{"spec":{"$patch":"burn"}}`, "", ``},
	}
	for name, tt := range tests {
		got, err := strategicMerge(fromJSON(t, pod).(map[string]any), fromJSON(t, tt.patch).(map[string]any), reflect.TypeFor[corev1.Pod]())
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(fromJSON(t, tt.want), got["spec"].(map[string]any)[tt.path]); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	got, err := strategicMerge(fromJSON(t, pod).(map[string]any), fromJSON(t, `{"metadata":{"$deleteFromPrimitiveList/finalizers":["f"],"finalizers":["h"]}}`).(map[string]any), reflect.TypeFor[corev1.Pod]())
	if list := got["metadata"].(map[string]any)["finalizers"].([]any); err != nil || len(list) != 2 || list[0] != "g" || list[1] != "h" {
		t.Errorf("a list of strings: %v, %v", list, err)
	}
}

func TestApply(t *testing.T) {
	live := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"a":"1","b":"2"}},"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"main","image":"x","ports":[{"containerPort":80,"protocol":"TCP"}]}]}}}}`
	owned := func(manager, said string) metav1.ManagedFieldsEntry {
		a := application{manager: manager, apiVersion: "apps/v1", kind: reflect.TypeFor[appsv1.Deployment]()}
		return a.entry(saidBy(fromJSON(t, said).(map[string]any), a.kind))
	}
	tests := map[string]struct {
		said    string
		entries []metav1.ManagedFieldsEntry
		force   bool
		want    string // "" for a conflict
	}{
		"a new field":       {said: `{"spec":{"paused":true}}`, want: strings.Replace(live, `"replicas"`, `"paused":true,"replicas"`, 1)},
		"a field less":      {said: `{}`, entries: []metav1.ManagedFieldsEntry{owned("me", `{"metadata":{"labels":{"a":"1"}}}`)}, want: strings.Replace(live, `"a":"1",`, "", 1)},
		"another one's too": {said: `{}`, entries: []metav1.ManagedFieldsEntry{owned("me", `{"metadata":{"labels":{"a":"1"}}}`), owned("you", `{"metadata":{"labels":{"a":"1"}}}`)}, want: live},
		"a conflict":        {said: `{"spec":{"replicas":2}}`, entries: []metav1.ManagedFieldsEntry{owned("you", `{"spec":{"replicas":1}}`)}},
		"the same value":    {said: `{"spec":{"replicas":1}}`, entries: []metav1.ManagedFieldsEntry{owned("you", `{"spec":{"replicas":1}}`)}, want: live},
		"by force":          {said: `{"spec":{"replicas":2}}`, force: true, entries: []metav1.ManagedFieldsEntry{owned("you", `{"spec":{"replicas":1}}`)}, want: strings.Replace(live, `"replicas":1`, `"replicas":2`, 1)},
		"an entry":          {said: `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"y"}]}}}}`, want: strings.Replace(live, `"TCP"}]}`, `"TCP"}]},{"name":"side","image":"y"}`, 1)},
		"a default key":     {said: `{"spec":{"template":{"spec":{"containers":[{"name":"main","ports":[{"containerPort":80,"name":"http"}]}]}}}}`, want: strings.Replace(live, `"protocol"`, `"name":"http","protocol"`, 1)},
		"an entry less": {
			said: `{}`, entries: []metav1.ManagedFieldsEntry{owned("me", `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"x","ports":[{"containerPort":80}]}]}}}}`), owned("you", `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"x"}]}}}}`)},
			want: strings.Replace(live, `,"ports":[{"containerPort":80,"protocol":"TCP"}]`, "", 1),
		},
	}
	for name, tt := range tests {
		r := &Request{Request: &http.Request{}, Query: url.Values{}}
		if tt.force {
			r.Query.Set("force", "true")
		}
		a := application{manager: "me", apiVersion: "apps/v1", kind: reflect.TypeFor[appsv1.Deployment]()}
		got, managed, err := a.apply(r, fromJSON(t, live).(map[string]any), fromJSON(t, tt.said).(map[string]any), tt.entries)
		if tt.want == "" {
			if err == nil || !strings.Contains(err.Error(), `conflict with "you": .spec.replicas`) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if diff := cmp.Diff(fromJSON(t, tt.want), any(got)); diff != "" || err != nil {
			t.Errorf("%s: (-want +got)\n%s\n%v", name, diff, err)
			continue
		}
		mine := managed[len(managed)-1]
		if diff := cmp.Diff(len(saidBy(fromJSON(t, tt.said).(map[string]any), a.kind)), len(ownedBy(&mine))); mine.Manager != "me" || diff != "" {
			t.Errorf("%s: %s has another number of fields: %s", name, mine.Manager, diff)
		}
	}
}
