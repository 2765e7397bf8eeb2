package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
		if !ready(pod) {
			continue
		}
		status.ReadyReplicas++
		if wait := untilAvailable(pod, rs.Spec.MinReadySeconds, in.Now); wait == 0 {
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

// untilAvailable is how long a ready pod has to stay so before it counts. One that is ready since a moment to come was ready before the
// clock was set back: it counts.
func untilAvailable(pod *corev1.Pod, minReady int32, now time.Time) time.Duration {
	since, ok := readySince(pod)
	if !ok || minReady == 0 || since.After(now) {
		return 0
	}
	return max(0, since.Add(time.Duration(minReady)*time.Second).Sub(now))
}

// readySince returns when the pod became ready, and whether it is.
func readySince(pod *corev1.Pod) (time.Time, bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}
