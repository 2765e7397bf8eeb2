package gc_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/gc"
)

func owned(name, kind, owner string) metav1.ObjectMeta {
	yes := true
	m := metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name)}
	if owner != "" {
		m.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: "its-" + owner, UID: types.UID(owner), Controller: &yes}}
	}
	return m
}

func pod(name, owner string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: owned(name, "ReplicaSet", owner)}
}

func settled() gc.Input {
	return gc.Input{
		Live: map[types.UID]bool{"d": true},
		Objects: []reconcile.Object{
			&appsv1.ReplicaSet{ObjectMeta: owned("rs", "Deployment", "d")}, &appsv1.ReplicaSet{ObjectMeta: owned("own", "", "")},
			pod("a", "rs"), pod("b", "own"), pod("bare", ""),
		},
	}
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		mutate func(*gc.Input)
		want   []string
	}{
		"everybody has an owner or needs none": {},
		"a Deployment is gone": {
			func(in *gc.Input) { in.Live = nil },
			[]string{"delete ReplicaSet/shop/rs: Deployment its-d is gone", "delete Pod/shop/a: ReplicaSet its-rs is gone"},
		},
		"a ReplicaSet is gone": {
			func(in *gc.Input) { in.Objects = slices.Delete(in.Objects, 1, 2) }, []string{"delete Pod/shop/b: ReplicaSet its-own is gone"},
		},
		"a new object of the old name inherits nothing": {
			func(in *gc.Input) { in.Objects[1].SetUID("another") }, []string{"delete Pod/shop/b: ReplicaSet its-own is gone"},
		},
		"an ending pod is left alone": {
			func(in *gc.Input) {
				in.Objects = slices.Delete(in.Objects, 1, 2)
				in.Objects[2].SetDeletionTimestamp(&metav1.Time{})
			}, nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := settled()
			if tt.mutate != nil {
				tt.mutate(&in)
			}
			var got []string
			for _, a := range gc.Plan(in).Actions {
				got = append(got, a.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
		})
	}
}
