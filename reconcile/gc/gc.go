// Package gc decides what has lost its owner and goes: the ReplicaSets of a Deployment that is no more, the Pods of a ReplicaSet that is
// no more, and so on. It compares UIDs, so that a new object of an old name inherits nothing.
package gc

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// Input is everything that may own or be owned. Nothing in it is changed.
type Input struct {
	// Live holds the UIDs of owners that exist and are not among Objects.
	Live map[types.UID]bool
	// Objects may be owned, and each is a possible owner of those behind it: owners stand before what they own.
	Objects []reconcile.Object
}

// Plan ends what has no owner any more: owners first, so that none makes anything new, and pods each with its own grace. Objects without a
// controller are nobody's, and stay.
func Plan(in Input) reconcile.Plan {
	var p reconcile.Plan
	live := make(map[types.UID]bool, len(in.Objects))
	for _, obj := range in.Objects {
		owner := metav1.GetControllerOfNoCopy(obj)
		if owner == nil || in.Live[owner.UID] || live[owner.UID] {
			live[obj.GetUID()] = true
			continue
		}
		key := reconcile.KeyOf(obj)
		pod, isPod := obj.(*corev1.Pod)
		switch {
		case obj.GetDeletionTimestamp() != nil: // it is ending already
		case !isPod:
			p.Actions = append(p.Actions, reconcile.DeleteObject{Key: key, UID: obj.GetUID(), Reason: gone(owner)})
		default:
			p.Actions = append(p.Actions, reconcile.DeletePod{Key: key, UID: pod.UID, Reason: gone(owner)})
		}
	}
	return p
}

func gone(owner *metav1.OwnerReference) string { return owner.Kind + " " + owner.Name + " is gone" }
