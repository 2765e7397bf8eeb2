package api

import (
	"net/http"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// What has lost its owner is changed where it is: no file says anything of it.
func TestOrphansAreChanged(t *testing.T) {
	p, s := newPlace(t)
	d := manifests.Decode("r.yaml", []byte(`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: r, annotations: {deployment.kubernetes.io/revision: "3"}},
		spec: {replicas: 2, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}`))
	rs := d.Objects[0].Object.DeepCopyObject().(*appsv1.ReplicaSet)
	rs.Status.Replicas = 2
	if err := p.store.Create(reconcile.KeyOf(rs), rs, nil); err != nil {
		t.Fatal(err)
	}
	before := len(p.files)
	const path = "/apis/apps/v1/namespaces/default/replicasets/r"
	for _, tc := range []struct {
		path, body string
		code       int
	}{
		{path + "/scale", `{"spec":{"replicas":0}}`, http.StatusOK},
		{path, `{"metadata":{"labels":{"x":"y"}}}`, http.StatusOK},
		{path, `{"spec":{"selector":{"matchLabels":{"a":"c"}},"template":{"metadata":{"labels":{"a":"c"}}}}}`, http.StatusUnprocessableEntity},
		{path, `{"spec":{"replicas":-1}}`, http.StatusUnprocessableEntity},
	} {
		if code, out, _ := askTo(s, "PATCH", tc.path, mergePatchType, tc.body); code != tc.code {
			t.Errorf("%s: %d %v", tc.body, code, out["message"])
		}
	}
	it, _ := p.store.Get(reconcile.KeyOf(rs))
	n := it.Object.(*appsv1.ReplicaSet)
	if *n.Spec.Replicas != 0 || n.Labels["x"] != "y" || n.Status.Replicas != 2 || n.Annotations["deployment.kubernetes.io/revision"] != "3" || n.UID != rs.UID || n.Generation != 2 {
		t.Errorf("it is %+v", n)
	}
	if len(p.files) != before || it.Source != nil {
		t.Errorf("a file states it: %v", p.files)
	}
	err := p.store.Update(it.Key, func(it store.Item) (store.Item, error) {
		o := it.Object.DeepCopyObject().(*appsv1.ReplicaSet)
		o.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", UID: "d"}}, appsv1.SchemeGroupVersion.WithKind("Deployment"))}
		it.Object = o
		return it, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, out, _ := askTo(s, "PATCH", path+"/scale", mergePatchType, `{"spec":{"replicas":1}}`); code != http.StatusForbidden {
		t.Errorf("one that is owned again: %d %v", code, out["message"])
	}
}
