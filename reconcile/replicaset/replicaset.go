// Package replicaset decides which pods a ReplicaSet makes and which it gives up, so that as many as wished are there.
package replicaset

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
)

// Input is what is known of one ReplicaSet. Nothing in it is changed.
type Input struct {
	ReplicaSet *appsv1.ReplicaSet
	// Pods are all that the ReplicaSet owns, by UID, those that are ending or have ended included.
	Pods []*corev1.Pod
	// Nonce makes the names of new pods: the same one in the same pass gives the same names, a fresh one fresh names.
	Nonce uint64
	Now   time.Time
}

// Plan returns the pods to make or to end and the status. Pods that are ending or have ended are not counted: they are replaced.
func Plan(in Input) reconcile.Plan {
	rs := in.ReplicaSet
	counted := count(in.Pods)
	var p reconcile.Plan
	if rs.DeletionTimestamp == nil {
		p.Actions = append(resize(in, counted.active), dropOld(in)...)
	}
	status, next := newStatus(in, counted)
	p.RequeueAfter = next
	if !sameStatus(&status, &rs.Status) {
		updated := *rs // what is not of the status is shared: nobody writes into an object
		updated.Status = status
		p.Actions = append(p.Actions, reconcile.UpdateStatus{Object: &updated})
	}
	return p
}

// pods are the owned pods by what they mean to a ReplicaSet.
type pods struct {
	active      []*corev1.Pod
	terminating int32
}

func count(owned []*corev1.Pod) pods {
	var out pods
	for _, p := range owned {
		switch {
		case finished(p):
		case p.DeletionTimestamp != nil:
			out.terminating++
		default:
			out.active = append(out.active, p)
		}
	}
	return out
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

// resize makes what is missing and ends what is too much.
func resize(in Input, active []*corev1.Pod) []reconcile.Action {
	rs := in.ReplicaSet
	wish := 1
	if rs.Spec.Replicas != nil {
		wish = int(*rs.Spec.Replicas)
	}
	if len(active) == wish {
		return nil
	}
	var actions []reconcile.Action
	names := reconcile.NewNames(rs.UID, in.Nonce, in.Pods)
	for range max(0, wish-len(active)) {
		pod := newPod(rs, names.Next(rs.Name, "-"), in.Now)
		actions = append(actions, reconcile.CreatePod{Pod: pod}, note(rs, "SuccessfulCreate", "Created pod: "+pod.Name))
	}
	if len(active) <= wish {
		return actions
	}
	for _, pod := range ranked(in, active)[:len(active)-wish] {
		actions = append(actions, reconcile.DeletePod{
			Key: reconcile.Key{Kind: reconcile.KindPod, Namespace: pod.Namespace, Name: pod.Name}, UID: pod.UID,
			Reason: fmt.Sprintf("%s has %d pods and wants %d", rs.Name, len(active), wish),
		}, note(rs, "SuccessfulDelete", "Deleted pod: "+pod.Name))
	}
	return actions
}

// mostKept is how many pods of a ReplicaSet stay that have come to an end, as evicted ones do, for whoever wants to know why. Kubernetes, too, removes them
// when there are many.
const mostKept = 50

// dropOld ends the pods that were made first of those that have come to an end, beyond those that are kept.
func dropOld(in Input) []reconcile.Action {
	var over []*corev1.Pod
	for _, pod := range in.Pods {
		if finished(pod) && pod.DeletionTimestamp == nil {
			over = append(over, pod)
		}
	}
	if len(over) <= mostKept {
		return nil
	}
	slices.SortFunc(over, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	var actions []reconcile.Action
	for _, pod := range over[:len(over)-mostKept] {
		actions = append(actions, reconcile.DeletePod{Key: reconcile.KeyOf(pod), UID: pod.UID, Reason: "many others ended after it"})
	}
	return actions
}

func note(rs *appsv1.ReplicaSet, reason, message string) reconcile.Action {
	key := reconcile.Key{Kind: reconcile.KindReplicaSet, Namespace: rs.Namespace, Name: rs.Name}
	return reconcile.RecordEvent{Key: key, UID: rs.UID, Reason: reason, Message: message}
}
