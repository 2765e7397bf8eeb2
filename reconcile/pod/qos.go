package pod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// qosClass is Guaranteed when every container has equal requests and limits of cpu and memory, BestEffort when none has any.
func qosClass(spec *corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, anything := true, false
	judge := func(r *corev1.ResourceRequirements) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := quantity(r.Requests, name), quantity(r.Limits, name)
			anything = anything || !request.IsZero() || !limit.IsZero()
			if limit.IsZero() || (!request.IsZero() && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	if spec.Resources != nil {
		judge(spec.Resources)
	} else {
		for i := range spec.InitContainers {
			judge(&spec.InitContainers[i].Resources)
		}
		for i := range spec.Containers {
			judge(&spec.Containers[i].Resources)
		}
	}
	switch {
	case !anything:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// The kernel ends the containers of BestEffort pods first and those of Guaranteed pods last. The numbers are the kubelet's.
const (
	scoreGuaranteed = -997
	scoreBestEffort = 1000
	scoreLeast      = 1000 + scoreGuaranteed // of a Burstable pod: worse than a Guaranteed one
)

// oomScore is how readily the kernel ends a container when the machine has no memory left: the less of it was asked for, the sooner.
func (p *pass) oomScore(spec *corev1.Container) int {
	switch qosClass(&p.pod.Spec) {
	case corev1.PodQOSGuaranteed:
		return scoreGuaranteed
	case corev1.PodQOSBestEffort:
		return scoreBestEffort
	case corev1.PodQOSBurstable:
	}
	request := quantity(spec.Resources.Requests, corev1.ResourceMemory)
	score := scoreBestEffort
	if memory := p.in.Node.Memory; memory > 0 {
		score -= int(float64(scoreBestEffort) * float64(request.Value()) / float64(memory))
	}
	return min(max(score, scoreLeast), scoreBestEffort-1)
}

func quantity(list corev1.ResourceList, name corev1.ResourceName) resource.Quantity {
	return list[name]
}
