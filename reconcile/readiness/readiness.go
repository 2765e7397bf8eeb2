// Package readiness tells how long pods have been ready: what those who replace them rely on.
package readiness

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Ready tells whether a pod is ready.
func Ready(pod *corev1.Pod) bool {
	_, ready := Since(pod)
	return ready
}

// Since returns when the pod became ready or unready, and whether it is ready.
func Since(pod *corev1.Pod) (time.Time, bool) {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

// UntilAvailable is how long a ready pod has to stay so before it counts as available: minReady seconds in all. One that is ready since a moment to
// come was ready before the clock was set back: it counts. For a pod that is not ready it says nothing, which is 0.
func UntilAvailable(pod *corev1.Pod, minReady int32, now time.Time) time.Duration {
	since, ok := Since(pod)
	if !ok || minReady == 0 || since.After(now) {
		return 0
	}
	return max(0, since.Add(time.Duration(minReady)*time.Second).Sub(now))
}

// steady is how long a new pod has to be ready before an old one is ended because of it, where nobody asks for longer. Who has no readiness probe is
// ready from its start to its crash: without a moment's patience a program that cannot run would take the place of one pod after the other. The kubelet,
// which looks once a second, mostly does not see such a moment.
const steady = time.Second

// UntilSteady is how long a ready pod has to stay so before others may be ended because of it. Where each container has a readiness probe, being
// ready has been shown, and is enough.
func UntilSteady(pod *corev1.Pod, now time.Time) time.Duration {
	since, ok := Since(pod)
	if !ok || since.After(now) || probed(pod) {
		return 0
	}
	return max(0, since.Add(steady).Sub(now))
}

func probed(pod *corev1.Pod) bool {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].ReadinessProbe == nil {
			return false
		}
	}
	return len(pod.Spec.Containers) > 0
}

// Available tells whether a pod is ready, and has been for minReady seconds.
func Available(pod *corev1.Pod, minReady int32, now time.Time) bool {
	return Ready(pod) && UntilAvailable(pod, minReady, now) == 0
}
