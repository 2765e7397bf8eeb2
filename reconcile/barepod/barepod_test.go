package barepod_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/barepod"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func wish() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "job", Namespace: "shop", Labels: map[string]string{"app": "job"}, UID: "of the file"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox:1"}}},
	}
}

// settled is a Pod as the wish led to it.
func settled() barepod.Input {
	in := barepod.Input{Wish: wish(), Now: now}
	made := barepod.Plan(in).Actions[0].(reconcile.CreatePod).Pod
	made.UID = "1"
	in.Pods = []*corev1.Pod{made}
	return in
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		mutate func(*barepod.Input)
		want   []string
	}{
		"nothing to do": {},
		"it is missing": {func(in *barepod.Input) { in.Pods = nil }, []string{"create Pod/shop/job"}},
		"its spec changes": {
			func(in *barepod.Input) { in.Wish.Spec.Containers[0].Image = "busybox:2" }, []string{"delete Pod/shop/job: its file has changed"},
		},
		"its labels change":      {func(in *barepod.Input) { in.Wish.Labels["app"] = "other" }, []string{"update Pod/shop/job: its labels or annotations have changed"}},
		"its annotations change": {func(in *barepod.Input) { in.Wish.Annotations = map[string]string{"a": "b"} }, []string{"update Pod/shop/job: its labels or annotations have changed"}},
		"somebody else writes it": {
			func(in *barepod.Input) {
				in.Wish.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl-edit"}}
			},
			[]string{"update Pod/shop/job: its labels or annotations have changed"},
		},
		"its labels change while it ends": {func(in *barepod.Input) {
			in.Wish.Labels["app"], in.Pods[0].DeletionTimestamp = "other", &metav1.Time{Time: now}
		}, nil},
		"it was made for no file": {func(in *barepod.Input) { in.Wish, in.Pods[0].Annotations = nil, nil }, nil},
		"a file takes the name":   {func(in *barepod.Input) { in.Pods[0].Annotations = nil }, []string{"delete Pod/shop/job: its file has changed"}},
		"its file is gone":        {func(in *barepod.Input) { in.Wish = nil }, []string{"delete Pod/shop/job: no file states it any more"}},
		"the old one is still ending": {
			func(in *barepod.Input) {
				in.Wish.Spec.Containers[0].Image = "busybox:2"
				in.Pods[0].DeletionTimestamp = &metav1.Time{Time: now}
			}, nil,
		},
		"it was deleted by hand and is still ending": {func(in *barepod.Input) { in.Pods[0].DeletionTimestamp = &metav1.Time{Time: now} }, nil},
		"it has finished": {func(in *barepod.Input) { in.Pods[0].Status.Phase = corev1.PodSucceeded }, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := settled()
			if tt.mutate != nil {
				tt.mutate(&in)
			}
			var got []string
			for _, a := range barepod.Plan(in).Actions {
				got = append(got, a.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPodIsMadeOfTheWish(t *testing.T) {
	in := settled()
	p := in.Pods[0]
	if p.Annotations[reconcile.AnnotationWish] != barepod.Hash(in.Wish) || p.Labels["app"] != "job" || len(p.OwnerReferences) > 0 {
		t.Errorf("the Pod is %v", p.ObjectMeta)
	}
	if in.Wish.Annotations != nil {
		t.Error("the wish was changed")
	}
}
