package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sameStatus compares what status writes. It runs at every look at every Pod, most of which find nothing new; comparing by reflection
// takes ten times as long.
func sameStatus(a, b *corev1.PodStatus) bool {
	return a.Phase == b.Phase && a.Reason == b.Reason && a.Message == b.Message && a.QOSClass == b.QOSClass &&
		a.ObservedGeneration == b.ObservedGeneration &&
		a.HostIP == b.HostIP && a.PodIP == b.PodIP && slices.Equal(a.HostIPs, b.HostIPs) && slices.Equal(a.PodIPs, b.PodIPs) &&
		sameTime(a.StartTime, b.StartTime) &&
		sameEach(a.Conditions, b.Conditions, sameCondition) &&
		sameEach(a.InitContainerStatuses, b.InitContainerStatuses, sameContainer) &&
		sameEach(a.ContainerStatuses, b.ContainerStatuses, sameContainer) &&
		sameEach(a.EphemeralContainerStatuses, b.EphemeralContainerStatuses, sameContainer)
}

// sameEach is slices.EqualFunc for elements too large to be copied for each comparison.
func sameEach[T any](a, b []T, same func(a, b *T) bool) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !same(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

func sameTime(a, b *metav1.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(b)
}

func sameCondition(a, b *corev1.PodCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message &&
		a.ObservedGeneration == b.ObservedGeneration && a.LastTransitionTime.Equal(&b.LastTransitionTime)
}

func sameContainer(a, b *corev1.ContainerStatus) bool {
	if (a.Started == nil) != (b.Started == nil) || a.Started != nil && *a.Started != *b.Started {
		return false
	}
	return a.Name == b.Name && a.Ready == b.Ready && a.RestartCount == b.RestartCount && a.Image == b.Image && a.ImageID == b.ImageID &&
		a.ContainerID == b.ContainerID && sameState(&a.State, &b.State) && sameState(&a.LastTerminationState, &b.LastTerminationState)
}

func sameState(a, b *corev1.ContainerState) bool {
	switch {
	case (a.Waiting == nil) != (b.Waiting == nil), (a.Running == nil) != (b.Running == nil), (a.Terminated == nil) != (b.Terminated == nil):
		return false
	case a.Waiting != nil && *a.Waiting != *b.Waiting:
		return false
	case a.Running != nil && !a.Running.StartedAt.Equal(&b.Running.StartedAt):
		return false
	case a.Terminated == nil:
		return true
	}
	x, y := *a.Terminated, *b.Terminated
	same := x.StartedAt.Equal(&y.StartedAt) && x.FinishedAt.Equal(&y.FinishedAt)
	x.StartedAt, x.FinishedAt, y.StartedAt, y.FinishedAt = metav1.Time{}, metav1.Time{}, metav1.Time{}, metav1.Time{}
	return same && x == y
}
