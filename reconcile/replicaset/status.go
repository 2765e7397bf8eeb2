package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// newStatus counts, and says when a pod that is ready now becomes available without anything else happening.
func newStatus(in Input, counted pods) (appsv1.ReplicaSetStatus, time.Duration) {
	rs := in.ReplicaSet
	status := *rs.Status.DeepCopy()
	status.ObservedGeneration = rs.Generation
	status.Replicas = int32(len(counted.active))
	status.TerminatingReplicas = &counted.terminating
	status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0
	var next time.Duration
	for _, pod := range counted.active {
		if labelled(pod, rs.Spec.Template.Labels) {
			status.FullyLabeledReplicas++
		}
		since, ok := readySince(pod)
		if !ok {
			continue
		}
		status.ReadyReplicas++
		wait := since.Add(time.Duration(rs.Spec.MinReadySeconds) * time.Second).Sub(in.Now)
		// A pod that is ready since a moment to come was ready before the clock was set back.
		if rs.Spec.MinReadySeconds == 0 || wait <= 0 || since.After(in.Now) {
			status.AvailableReplicas++
		} else if next == 0 || wait < next {
			next = wait
		}
	}
	return status, next
}

func labelled(pod *corev1.Pod, labels map[string]string) bool {
	for k, v := range labels {
		if w, ok := pod.Labels[k]; !ok || w != v {
			return false
		}
	}
	return true
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
