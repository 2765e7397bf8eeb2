package api

import (
	"cmp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/disruption"
)

func TestEvict(t *testing.T) {
	made := func(p *place) {
		for _, obj := range []store.Object{
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "1"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "2"}},
		} {
			if err := p.store.Create(reconcile.KeyOf(obj), obj, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	const eviction, node = "/api/v1/namespaces/default/pods/p/eviction", "/api/v1/nodes/node"
	tests := map[string]struct {
		method, path, media, body string
		refuses                   error
		code                      int
		message, asked            string
	}{
		"allowed":        {body: `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p","namespace":"default"}}`, code: 201, asked: "evict Pod/default/p dry=false, delete Pod/default/p"},
		"a dry run":      {body: `{"deleteOptions":{"dryRun":["All"]}}`, code: 201, asked: "evict Pod/default/p dry=true"},
		"of another UID": {body: `{"deleteOptions":{"preconditions":{"uid":"x"}}}`, code: 409, message: "Precondition failed", asked: "evict Pod/default/p dry=false"},
		"of another":     {body: `{"metadata":{"name":"q"}}`, code: 400, message: "does not match"},
		"none there":     {path: "/api/v1/namespaces/default/pods/q/eviction", body: `{}`, code: 404},
		"refused":        {body: `{}`, refuses: &disruption.Refusal{Budget: "b", Reason: "The budget b needs 2."}, code: 429, message: "would violate the pod's disruption budget"},
		"two budgets":    {body: `{}`, refuses: &disruption.Refusal{Reason: "more than one", Unsupported: true}, code: 500, message: "more than one"},
		"cordon":         {method: "PATCH", path: node, media: strategicType, body: `{"spec":{"unschedulable":true}}`, code: 200},
		"another field":  {method: "PATCH", path: node, media: mergePatchType, body: `{"spec":{"podCIDR":"10.0.0.0/8"}}`, code: 403, message: "no file states it"},
		"no node":        {method: "DELETE", path: node, code: 405},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, s := newPlace(t)
			p.refuses = tt.refuses
			made(p)
			code, out, _ := askTo(s, cmp.Or(tt.method, "POST"), cmp.Or(tt.path, eviction), cmp.Or(tt.media, jsonType), tt.body)
			if message, _ := out["message"].(string); code != tt.code || !strings.Contains(message, tt.message) {
				t.Errorf("got %d %v, want %d %s", code, out, tt.code, tt.message)
			}
			if got := strings.Join(p.asked, ", "); got != tt.asked {
				t.Errorf("asked %q, want %q", got, tt.asked)
			}
			n, _ := store.Get[*corev1.Node](p.store, reconcile.Key{Kind: reconcile.KindNode, Name: "node"})
			if is := n.Spec.Unschedulable && len(n.Spec.Taints) == 1; is != (name == "cordon") {
				t.Errorf("the node is %+v", n.Spec)
			}
			if name != "cordon" {
				return
			}
			if code, out, _ := askTo(s, "PATCH", node, strategicType, `{"spec":{"unschedulable":null}}`); code != 200 {
				t.Errorf("uncordon: %d %v", code, out)
			}
			if n, _ := store.Get[*corev1.Node](p.store, reconcile.Key{Kind: reconcile.KindNode, Name: "node"}); n.Spec.Unschedulable || len(n.Spec.Taints) > 0 {
				t.Errorf("the node is %+v", n.Spec)
			}
		})
	}
}
