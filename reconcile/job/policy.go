package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// policy is what the Job's podFailurePolicy says about a pod that has failed: the action of the first rule that matches, Count where none
// does. The message is for FailJob, and worded as Kubernetes does it.
func (p *pass) policy(pod *corev1.Pod) (action batchv1.PodFailurePolicyAction, message string) {
	if p.spec.PodFailurePolicy == nil {
		return batchv1.PodFailurePolicyActionCount, ""
	}
	for n, rule := range p.spec.PodFailurePolicy.Rules {
		if rule.OnExitCodes != nil {
			if s := matchingContainer(pod, rule.OnExitCodes); s != nil {
				return rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d",
					s.Name, pod.Namespace, pod.Name, s.State.Terminated.ExitCode, rule.Action, n)
			}
			continue
		}
		if c := matchingCondition(pod, rule.OnPodConditions); c != "" {
			return rule.Action, fmt.Sprintf("Pod %s/%s has condition %s matching %s rule at index %d", pod.Namespace, pod.Name, c, rule.Action, n)
		}
	}
	return batchv1.PodFailurePolicyActionCount, ""
}

func matchingContainer(pod *corev1.Pod, want *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			end := list[i].State.Terminated
			if end == nil || end.ExitCode == 0 || want.ContainerName != nil && *want.ContainerName != list[i].Name {
				continue
			}
			if slices.Contains(want.Values, end.ExitCode) == (want.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return &list[i]
			}
		}
	}
	return nil
}

func matchingCondition(pod *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) corev1.PodConditionType {
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		for _, want := range patterns {
			if c.Type == want.Type && c.Status == want.Status {
				return c.Type
			}
		}
	}
	return ""
}

// successRule returns which rule of the Job's successPolicy the completed indexes fulfil, or -1.
func (p *pass) successRule() int {
	if p.spec.SuccessPolicy == nil || len(p.completed) == 0 {
		return -1
	}
	for n, rule := range p.spec.SuccessPolicy.Rules {
		count := p.completed.len()
		if rule.SucceededIndexes != nil {
			wanted := parseIndexes(*rule.SucceededIndexes, int(*p.spec.Completions))
			count = p.completed.common(wanted)
			if count > 0 && count == wanted.len() {
				return n
			}
		}
		if rule.SucceededCount != nil && count >= int(*rule.SucceededCount) {
			return n
		}
	}
	return -1
}
