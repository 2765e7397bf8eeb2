package job

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
)

// manage ends the pods that are too many, or else makes those that are missing and whose back-off is over.
func (p *pass) manage() {
	if p.suspended() {
		p.giveUp(p.active, "the Job is suspended")
		return
	}
	want := p.wanted()
	if surplus := p.surplus(len(p.active) - want); len(surplus) > 0 {
		p.giveUp(surplus, "the Job wants fewer pods")
		return // as in Kubernetes: one pass does not end pods and make others
	}
	missing := want - len(p.active)
	if p.onlyFailed() {
		missing -= int(p.terminating)
	}
	missing = min(missing, mostAtOnce)
	if missing <= 0 {
		return
	}
	names := reconcile.NewNames(p.job.UID, p.in.Nonce, p.in.Pods)
	if !p.indexed() {
		if wait := p.backoff(p.in.Pods); wait > 0 {
			p.again(wait)
			return
		}
		for range missing {
			p.create(names, -1)
		}
		return
	}
	for _, i := range p.due(missing) {
		p.create(names, i)
	}
}

// wanted is how many pods shall be active: no more than completions are left. A Job without completions starts none after the first success.
func (p *pass) wanted() int {
	parallelism := value(p.spec.Parallelism, 1)
	switch {
	case p.spec.Completions != nil:
		return int(max(0, min(parallelism, *p.spec.Completions-p.done())))
	case p.done() > 0:
		return len(p.active)
	}
	return int(parallelism)
}

// surplus returns at least n active pods to end: those without an index of their own first, then what has done least.
func (p *pass) surplus(n int) []*corev1.Pod {
	ranked := slices.Clone(p.active)
	slices.SortStableFunc(ranked, func(a, b *corev1.Pod) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)), b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name),
		)
	})
	var out, rest []*corev1.Pod
	seen := map[int]bool{}
	if p.indexed() {
		for _, pod := range slices.Backward(ranked) { // of two with one index the one that has done more stays
			if i := p.index(pod); i < 0 || seen[i] || p.completed.has(i) || p.failedIndexes.has(i) {
				out = append(out, pod)
			} else {
				seen[i] = true
				rest = append(rest, pod)
			}
		}
		slices.Reverse(rest)
	} else {
		rest = ranked
	}
	if more := n - len(out); more > 0 {
		out = append(out, rest[:more]...)
	}
	return out[:min(len(out), mostAtOnce)]
}

func rank(pod *corev1.Pod) int {
	switch {
	case pod.Status.Phase != corev1.PodRunning:
		return 0
	case !ready(pod):
		return 1
	}
	return 2
}

// giveUp ends active pods that the Job does not want any more: whatever becomes of them, it does not count.
func (p *pass) giveUp(pods []*corev1.Pod, why string) {
	for _, pod := range pods {
		p.record.mark(pod.UID, given)
		p.end(pod, why)
		p.terminating++
	}
	p.active = slices.DeleteFunc(slices.Clone(p.active), func(pod *corev1.Pod) bool { return slices.Contains(pods, pod) })
}

// due returns up to n indexes to begin now, the lowest first. Without a limit of its own for each index one back-off holds for all.
func (p *pass) due(n int) []int {
	taken := p.completed.union(p.failedIndexes)
	for _, pod := range p.in.Pods {
		if i := p.index(pod); i >= 0 && (slices.Contains(p.active, pod) || p.onlyFailed() && !ended(pod) && pod.DeletionTimestamp != nil) {
			taken = taken.with(i)
		}
	}
	pending := taken.missing(n, int(*p.spec.Completions))
	if p.spec.BackoffLimitPerIndex == nil {
		if wait := p.backoff(p.in.Pods); wait > 0 {
			p.again(wait)
			return nil
		}
		return pending
	}
	tries := map[int][]*corev1.Pod{}
	for _, pod := range p.in.Pods {
		tries[p.index(pod)] = append(tries[p.index(pod)], pod)
	}
	return slices.DeleteFunc(pending, func(i int) bool {
		wait := p.backoff(tries[i])
		if wait > 0 {
			p.again(wait)
		}
		return wait > 0
	})
}

// The back-off of pods that fail is that of Kubernetes.
const (
	firstBackoff = 10 * time.Second
	mostBackoff  = 6 * time.Minute
)

// backoff is how long the next pod has to wait, from the pods that failed since the last one that did well. It is worked out from the pods
// that there are, so a controller that starts anew knows it, too. What ended after now did so before the clock was set back: nobody knows how
// long ago that was, and waiting for the clock to catch up could take hours.
func (p *pass) backoff(pods []*corev1.Pod) time.Duration {
	var success, failure time.Time
	for _, pod := range pods {
		if at := endedAt(pod); pod.Status.Phase == corev1.PodSucceeded && at.After(success) && !at.After(p.in.Now) {
			success = at
		}
	}
	failures := 0
	for _, pod := range pods {
		at := endedAt(pod)
		if p.record.marks[pod.UID] != failed || !at.After(success) {
			continue
		}
		failures++
		if at.After(failure) && !at.After(p.in.Now) {
			failure = at
		}
	}
	if failure.IsZero() {
		return 0
	}
	wait := firstBackoff
	for range failures - 1 {
		wait = min(mostBackoff, 2*wait)
	}
	return max(0, failure.Add(wait).Sub(p.in.Now))
}

// endedAt is when the last container of a pod ended, or else when it stopped being ready or its end was ordered.
func endedAt(pod *corev1.Pod) time.Time {
	var last time.Time
	whole := len(pod.Status.ContainerStatuses) > 0
	for i := range pod.Status.ContainerStatuses {
		end := pod.Status.ContainerStatuses[i].State.Terminated
		if end == nil {
			whole = false
			break
		}
		if end.FinishedAt.After(last) {
			last = end.FinishedAt.Time
		}
	}
	if whole {
		return last
	}
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse && ended(pod) {
			return c.LastTransitionTime.Time
		}
	}
	if pod.DeletionTimestamp != nil {
		var grace int64
		if s := pod.DeletionGracePeriodSeconds; s != nil {
			grace = *s
		}
		return pod.DeletionTimestamp.Add(-time.Duration(grace) * time.Second)
	}
	return pod.CreationTimestamp.Time
}
