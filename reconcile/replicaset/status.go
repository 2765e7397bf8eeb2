package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile/readiness"
)

// newStatus counts, and says when a pod that is ready now becomes available without anything else happening.
func newStatus(in Input, counted pods) (appsv1.ReplicaSetStatus, time.Duration) {
	rs := in.ReplicaSet
	status := rs.Status
	status.ObservedGeneration = rs.Generation
	status.Replicas = int32(len(counted.active))
	status.TerminatingReplicas = &counted.terminating
	status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0
	var next time.Duration
	for _, pod := range counted.active {
		if labelled(pod, rs.Spec.Template.Labels) {
			status.FullyLabeledReplicas++
		}
		if !readiness.Ready(pod) {
			continue
		}
		status.ReadyReplicas++
		if wait := readiness.UntilAvailable(pod, rs.Spec.MinReadySeconds, in.Now); wait == 0 {
			status.AvailableReplicas++
		} else if next == 0 || wait < next {
			next = wait
		}
	}
	return status, next
}

// sameStatus compares what newStatus writes; the conditions it leaves alone.
func sameStatus(a, b *appsv1.ReplicaSetStatus) bool {
	return a.Replicas == b.Replicas && a.FullyLabeledReplicas == b.FullyLabeledReplicas && a.ReadyReplicas == b.ReadyReplicas &&
		a.AvailableReplicas == b.AvailableReplicas && a.ObservedGeneration == b.ObservedGeneration &&
		a.TerminatingReplicas != nil && b.TerminatingReplicas != nil && *a.TerminatingReplicas == *b.TerminatingReplicas
}

func labelled(pod *corev1.Pod, labels map[string]string) bool {
	for k, v := range labels {
		if w, ok := pod.Labels[k]; !ok || w != v {
			return false
		}
	}
	return true
}
