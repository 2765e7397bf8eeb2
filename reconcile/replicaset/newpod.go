package replicaset

import (
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// newPod makes a pod of the template. The executor adds its UID.
func newPod(rs *appsv1.ReplicaSet, name string, now time.Time) *corev1.Pod {
	t := &rs.Spec.Template // shared: nobody writes into an object
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPod},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, GenerateName: rs.Name + "-", Namespace: rs.Namespace,
			Labels:            t.Labels,
			Annotations:       maps.Clone(t.Annotations),
			CreationTimestamp: metav1.NewTime(now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind(reconcile.KindReplicaSet))},
		},
		Spec:   t.Spec,
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}
