package replicaset

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile/readiness"
)

// ranked sorts pods by who goes first when there are too many, in Kubernetes' order: what serves least and is youngest. One thing is added:
// a pod that is ready but not yet available goes before one that is, whatever their clocks say.
func ranked(in Input, active []*corev1.Pod) []*corev1.Pod {
	out := slices.Clone(active)
	minReady, now := in.ReplicaSet.Spec.MinReadySeconds, in.Now
	slices.SortStableFunc(out, func(a, b *corev1.Pod) int {
		return cmp.Or(
			boolFirst(a.Spec.NodeName == "", b.Spec.NodeName == ""),
			cmp.Compare(phaseRank(a.Status.Phase), phaseRank(b.Status.Phase)),
			boolFirst(!readiness.Ready(a), !readiness.Ready(b)),
			boolFirst(readiness.UntilAvailable(a, minReady, now) > 0, readiness.UntilAvailable(b, minReady, now) > 0),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			youngerReadyFirst(a, b),
			-cmp.Compare(restarts(a), restarts(b)),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return out
}

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func phaseRank(p corev1.PodPhase) int {
	switch p {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	default:
		return 0
	}
}

// deletionCost is the user's own say; what is not a number counts as 0, as in Kubernetes.
func deletionCost(p *corev1.Pod) int32 {
	n, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

func youngerReadyFirst(a, b *corev1.Pod) int {
	sinceA, okA := readiness.Since(a)
	sinceB, okB := readiness.Since(b)
	if !okA || !okB {
		return 0
	}
	return sinceB.Compare(sinceA)
}

func restarts(p *corev1.Pod) int32 {
	var most int32
	for _, c := range p.Status.ContainerStatuses {
		most = max(most, c.RestartCount)
	}
	return most
}
