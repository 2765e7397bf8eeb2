package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// decoded is a pod of a ReplicaSet as it comes from JSON: it shares nothing with any other.
func decoded(t *testing.T, name, image string) *corev1.Pod {
	t.Helper()
	owner := metav1.OwnerReference{Kind: "ReplicaSet", Name: "web", UID: "rs", Controller: new(true)}
	data, err := json.Marshal(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": "web"}, OwnerReferences: []metav1.OwnerReference{owner}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Image: image, Args: []string{"serve"}}}, Volumes: []corev1.Volume{{Name: "tmp"}}, ServiceAccountName: "default",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &corev1.Pod{}
	if err := json.Unmarshal(data, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPodsOfOneOwnerShareWhatTheyStateAlike(t *testing.T) {
	s, err := Open(Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	var pods []*corev1.Pod
	for i, image := range []string{"web:1", "web:1", "web:2"} {
		p := decoded(t, fmt.Sprint("web-", i), image)
		if err := s.Create(reconcile.KeyOf(p), p, nil); err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	a, b, other := pods[0], pods[1], pods[2]
	if &a.Spec.Containers[0] != &b.Spec.Containers[0] || &a.OwnerReferences[0] != &b.OwnerReferences[0] || !sameText(a.Spec.ServiceAccountName, b.Spec.ServiceAccountName) {
		t.Error("two pods of one template have two specs")
	}
	a.Labels["seen"] = "yes" // nobody but a test may do this
	if b.Labels["seen"] != "yes" {
		t.Error("two pods of one template have two maps of labels")
	}
	delete(a.Labels, "seen")
	if &a.Spec.Containers[0] == &other.Spec.Containers[0] || other.Spec.Containers[0].Image != "web:2" {
		t.Error("a pod of another template has the containers of this one")
	}
	if &a.Spec.Volumes[0] != &other.Spec.Volumes[0] || &a.Spec.Containers[0].Args[0] != &other.Spec.Containers[0].Args[0] {
		t.Error("a pod of another template has not what is the same in both")
	}
}

func TestVersionsShareWhatDidNotChange(t *testing.T) {
	s, err := Open(Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	was := decoded(t, "web", "web:1")
	key := reconcile.KeyOf(was)
	if err := s.Create(key, was, nil); err != nil {
		t.Fatal(err)
	}
	is := decoded(t, "web", "web:1")
	is.Annotations = map[string]string{"new": strings.Repeat("x", 3)}
	if err := s.Update(key, func(it Item) (Item, error) { it.Object = is; return it, nil }); err != nil {
		t.Fatal(err)
	}
	if &was.Spec.Containers[0] != &is.Spec.Containers[0] || is.Annotations["new"] != "xxx" || was.Annotations != nil {
		t.Errorf("the new version is %+v", is)
	}
}

func sameText(a, b string) bool { return unsafe.StringData(a) == unsafe.StringData(b) }
