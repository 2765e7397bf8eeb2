package statefulset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"berth/reconcile"
	"berth/reconcile/readiness"
)

// report counts, and says when a pod that is ready now becomes available without anything else happening. With a rollout that is complete, its revision
// is the current one for all that follows.
func (s *pass) report() {
	status, next := s.status()
	if status.CurrentRevision == s.update {
		s.current, s.before = s.update, nil
	}
	s.plan.RequeueAfter = next
	if apiequality.Semantic.DeepEqual(status, s.set.Status) {
		return
	}
	updated := *s.set // what is not of the status is shared: nobody writes into an object
	updated.Status = status
	s.do(reconcile.UpdateStatus{Object: &updated})
}

func (s *pass) status() (status appsv1.StatefulSetStatus, next time.Duration) {
	status = appsv1.StatefulSetStatus{
		ObservedGeneration: s.set.Generation, CurrentRevision: s.current, UpdateRevision: s.update,
		CollisionCount: s.history.Collisions, Conditions: s.set.Status.Conditions,
	}
	if status.CollisionCount == nil {
		status.CollisionCount = new(int32)
	}
	for _, list := range [][]*corev1.Pod{s.replicas, s.condemned} {
		for _, p := range list {
			if p == nil {
				continue
			}
			wait := s.count(&status, p)
			if wait > 0 && (next == 0 || wait < next) {
				next = wait
			}
		}
	}
	n := int32(len(s.replicas))
	if s.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType &&
		status.UpdatedReplicas == n && status.ReadyReplicas == n && status.Replicas == n {
		status.CurrentRevision, status.CurrentReplicas = status.UpdateRevision, status.UpdatedReplicas // the rollout is complete
	}
	return status, next
}

// count counts one pod, and returns how long it has to stay ready to be available.
func (s *pass) count(status *appsv1.StatefulSetStatus, p *corev1.Pod) (wait time.Duration) {
	status.Replicas++
	if p.Status.Phase == corev1.PodRunning && readiness.Ready(p) {
		status.ReadyReplicas++
		if wait = readiness.UntilAvailable(p, s.set.Spec.MinReadySeconds, s.now); wait == 0 {
			status.AvailableReplicas++
		}
	}
	if p.DeletionTimestamp != nil {
		return wait
	}
	if revisionOf(p) == s.current {
		status.CurrentReplicas++
	}
	if revisionOf(p) == s.update {
		status.UpdatedReplicas++
	}
	return wait
}
