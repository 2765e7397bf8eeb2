// Package gc decides what has lost its owner and goes: the ReplicaSets of a Deployment that is no more, the Pods of a ReplicaSet that is
// no more. It compares UIDs, so that a new object of an old name inherits nothing.
package gc

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// Input is everything that may own or be owned. Nothing in it is changed.
type Input struct {
	// Live holds the UIDs of owners of all other kinds that exist: Deployments, and whatever may come.
	Live map[types.UID]bool
	// ReplicaSets are all that exist; each is a possible owner, too.
	ReplicaSets []*appsv1.ReplicaSet
	Pods        []*corev1.Pod
}

// Plan ends what has no owner any more: ReplicaSets first, so that none makes new pods, then pods, each with its own grace. Objects
// without a controller are nobody's, and stay.
func Plan(in Input) reconcile.Plan {
	var p reconcile.Plan
	live := make(map[types.UID]bool, len(in.ReplicaSets))
	for _, rs := range in.ReplicaSets {
		owner := metav1.GetControllerOfNoCopy(rs)
		if owner == nil || in.Live[owner.UID] {
			live[rs.UID] = true
			continue
		}
		key := reconcile.Key{Kind: reconcile.KindReplicaSet, Namespace: rs.Namespace, Name: rs.Name}
		p.Actions = append(p.Actions, reconcile.DeleteReplicaSet{Key: key, UID: rs.UID, Reason: gone(owner)})
	}
	for _, pod := range in.Pods {
		owner := metav1.GetControllerOfNoCopy(pod)
		if owner == nil || in.Live[owner.UID] || live[owner.UID] || pod.DeletionTimestamp != nil {
			continue
		}
		key := reconcile.Key{Kind: reconcile.KindPod, Namespace: pod.Namespace, Name: pod.Name}
		p.Actions = append(p.Actions, reconcile.DeletePod{Key: key, UID: pod.UID, Reason: gone(owner)})
	}
	return p
}

func gone(owner *metav1.OwnerReference) string { return owner.Kind + " " + owner.Name + " is gone" }
