package daemonset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"berth/reconcile"
	"berth/reconcile/readiness"
)

// report counts, and says when a pod that is ready now becomes available without anything else happening. As in Kubernetes, of two pods on
// a node the older one is counted.
func (p *pass) report() {
	status := appsv1.DaemonSetStatus{
		DesiredNumberScheduled: 1, ObservedGeneration: p.set.Generation, CollisionCount: p.history.Collisions, Conditions: p.set.Status.Conditions,
	}
	if len(p.present) > 0 {
		pod := p.present[0]
		status.CurrentNumberScheduled = 1
		if readiness.Ready(pod) {
			status.NumberReady = 1
			status.NumberAvailable = number(p.available(pod))
		}
		status.UpdatedNumberScheduled = number(p.updated(pod))
	}
	status.NumberUnavailable = status.DesiredNumberScheduled - status.NumberAvailable
	for _, pod := range p.present {
		if wait := readiness.UntilAvailable(pod, p.set.Spec.MinReadySeconds, p.in.Now); wait > 0 {
			p.plan.RequeueAfter = sooner(p.plan.RequeueAfter, wait)
		}
	}
	if apiequality.Semantic.DeepEqual(status, p.set.Status) {
		return
	}
	updated := *p.set // what is not of the status is shared: nobody writes into an object
	updated.Status = status
	p.do(reconcile.UpdateStatus{Object: &updated})
}

func number(is bool) int32 {
	if is {
		return 1
	}
	return 0
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}
