package job

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// countPods counts what has ended since the last look, and finds out what is active.
func (p *pass) countPods() {
	if p.indexed() {
		completions := int(*p.spec.Completions)
		p.completed = parseIndexes(p.status.CompletedIndexes, completions)
		if p.status.FailedIndexes != nil {
			p.failedIndexes = parseIndexes(*p.status.FailedIndexes, completions)
		}
	}
	exists := make(map[types.UID]bool, len(p.in.Pods))
	for _, pod := range p.in.Pods {
		exists[pod.UID] = true
	}
	if lost := p.record.keep(exists); len(lost) > 0 {
		for _, i := range lost {
			p.failure(i, false)
		}
		p.note(true, "PodsLost", fmt.Sprintf("%d pods that had begun are gone, as when the machine goes down: they count as failed", len(lost)))
	}
	for _, pod := range p.in.Pods {
		p.count(pod)
		if !ended(pod) && pod.DeletionTimestamp != nil {
			p.terminating++
		}
	}
}

// count counts one pod, once.
func (p *pass) count(pod *corev1.Pod) {
	known, i := p.record.marks[pod.UID], p.index(pod)
	switch {
	case known.over():
		// The order to end it was lost in a crash. One that was given up goes even if it has ended since, or it would look like a failure.
		if pod.DeletionTimestamp == nil && (known == given || !ended(pod)) {
			p.end(pod, "it does not count any more")
			if !ended(pod) {
				p.terminating++
			}
		}
	case known == succeeded:
	case pod.Status.Phase == corev1.PodSucceeded:
		p.success(pod, i)
	case p.failed(pod):
		p.record.mark(pod.UID, failed)
		action, message := p.policy(pod)
		if action == batchv1.PodFailurePolicyActionFailJob && p.cause == "" {
			p.cause = message
		}
		if action != batchv1.PodFailurePolicyActionIgnore {
			p.failure(i, action == batchv1.PodFailurePolicyActionFailIndex)
		}
	case pod.DeletionTimestamp == nil:
		p.active = append(p.active, pod)
		fallthrough
	default:
		if begun(pod) {
			p.record.run(pod.UID, i)
		}
	}
}

// success counts a pod that has done its work. The completed indexes say themselves what was counted.
func (p *pass) success(pod *corev1.Pod, i int) {
	if !p.indexed() {
		p.record.mark(pod.UID, succeeded)
		p.status.Succeeded++
		return
	}
	p.record.forget(pod.UID)
	if i >= 0 && !p.failedIndexes.has(i) {
		p.completed = p.completed.with(i)
		delete(p.record.failures, i)
	}
}

// failure counts a pod that has failed, for the Job and for its index.
func (p *pass) failure(i int, failsIndex bool) {
	if p.indexed() && i < 0 {
		return // of an index that the Job had when it was larger
	}
	p.status.Failed++
	limit := p.spec.BackoffLimitPerIndex
	if !p.indexed() || limit == nil || p.completed.has(i) {
		return
	}
	p.record.failures[i]++
	if failsIndex || p.record.failures[i] > *limit {
		p.failedIndexes = p.failedIndexes.with(i)
		delete(p.record.failures, i)
	}
}

// failed tells whether a pod counts as a failure. One that somebody ends does so at once, unless it is to be replaced only when it has ended.
func (p *pass) failed(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil && !p.onlyFailed()
}

// begun tells whether a container of the pod has ever run.
func begun(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if s := &list[i]; s.State.Running != nil || s.State.Terminated != nil || s.RestartCount > 0 {
				return true
			}
		}
	}
	return false
}

// restarts adds up what the containers of pods that still run have failed, for restartPolicy OnFailure.
func restarts(pods []*corev1.Pod) (n int32) {
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
			continue
		}
		for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range list {
				n += list[i].RestartCount
			}
		}
	}
	return n
}
