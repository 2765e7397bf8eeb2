package deployment

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// status counts what the ReplicaSets report, and says whether enough of it is available.
func (r *rollout) status() appsv1.DeploymentStatus {
	all := r.all()
	available := total(all, func(v *revision) int32 { return v.rs.Status.AvailableReplicas })
	s := appsv1.DeploymentStatus{
		ObservedGeneration:  r.d.Generation,
		Replicas:            total(all, actualOf),
		ReadyReplicas:       total(all, readyOf),
		AvailableReplicas:   available,
		UnavailableReplicas: max(0, total(all, sizeOf)-available),
		TerminatingReplicas: terminating(all),
		CollisionCount:      r.collision,
		Conditions:          slices.Clone(r.was.Conditions),
	}
	s.UpdatedReplicas = r.updated()
	r.holdCondition(&s)
	if available >= r.desired()-r.unavailable() {
		setCondition(&s, r.condition(appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonMinimumAvailable, "Deployment has minimum availability."))
	} else {
		setCondition(&s, r.condition(appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonMinimumNotReached, "Deployment does not have minimum availability."))
	}
	return s
}

// updated counts the pods of the file's own revision; one that a user asked for instead stands for it.
func (r *rollout) updated() int32 {
	if !r.tookBack() {
		return r.running()
	}
	return total(r.all(), func(v *revision) int32 {
		if v.fresh || !r.states(v.rs) {
			return 0
		}
		return actualOf(v)
	})
}

// running counts the pods of the revision that shall run.
func (r *rollout) running() int32 {
	if r.newest == nil {
		return 0
	}
	return actualOf(r.newest)
}

// sameStatus compares everything that a status of this API has.
func sameStatus(a, b *appsv1.DeploymentStatus) bool {
	return a.ObservedGeneration == b.ObservedGeneration && a.Replicas == b.Replicas && a.UpdatedReplicas == b.UpdatedReplicas &&
		a.ReadyReplicas == b.ReadyReplicas && a.AvailableReplicas == b.AvailableReplicas && a.UnavailableReplicas == b.UnavailableReplicas &&
		sameNumber(a.TerminatingReplicas, b.TerminatingReplicas) && sameNumber(a.CollisionCount, b.CollisionCount) &&
		slices.EqualFunc(a.Conditions, b.Conditions, sameCondition)
}

func sameNumber(a, b *int32) bool { return a == b || a != nil && b != nil && *a == *b }

func sameCondition(a, b appsv1.DeploymentCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message &&
		a.LastUpdateTime.Equal(&b.LastUpdateTime) && a.LastTransitionTime.Equal(&b.LastTransitionTime)
}

func terminating(revisions []*revision) *int32 {
	var n int32
	for _, v := range revisions {
		if t := v.rs.Status.TerminatingReplicas; t != nil {
			n += *t
		}
	}
	return &n
}

// rolloutStatus adds to the counts how the rollout gets on. Once complete it is not judged again until the next one begins.
func (r *rollout) rolloutStatus() appsv1.DeploymentStatus {
	s := r.status()
	switch had := findCondition(r.was.Conditions, appsv1.DeploymentProgressing); {
	case !hasDeadline(r.d):
		dropCondition(&s, appsv1.DeploymentProgressing)
	case r.tookBack():
		r.holdProgress(&s)
	case had == nil || had.Reason != reasonAvailable || s.Replicas != s.UpdatedReplicas:
		r.judge(&s, had)
	}
	r.judgeFailure(&s)
	r.failures(&s)
	return s
}

func (r *rollout) judge(s *appsv1.DeploymentStatus, had *appsv1.DeploymentCondition) {
	who := "Deployment " + quote(r.d.Name)
	if r.newest != nil {
		who = "ReplicaSet " + quote(r.newest.rs.Name)
	}
	switch {
	case r.complete(s):
		r.progress(s, corev1.ConditionTrue, reasonAvailable, who+" has successfully progressed.")
	case r.moved(s):
		c := r.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, who+" is progressing.")
		if had != nil && had.Status == c.Status {
			c.LastTransitionTime = had.LastTransitionTime
		}
		// Each sign of progress renews the time of the update, also under the same reason.
		dropCondition(s, appsv1.DeploymentProgressing)
		setCondition(s, c)
	case r.timedOut(had):
		r.progress(s, corev1.ConditionFalse, reasonTimedOut, who+" has timed out progressing.")
	}
}

// complete means that only new pods exist, as many as wished, all available. Counts of before the last sizing say nothing: what was just made
// smaller would look complete when it is to grow again.
func (r *rollout) complete(s *appsv1.DeploymentStatus) bool {
	wish := r.desired()
	if !r.observed() || r.newest != nil && (r.newest.size != wish || r.newest.wasSize() != wish) {
		return false
	}
	return r.running() == wish && s.Replicas == wish && s.AvailableReplicas == wish
}

// moved compares with the last pass. Kubernetes counts also that more pods are ready; then a container that crashes renews the time of its
// rollout with each restart. Here they count once they are available, and have that much longer for it.
func (r *rollout) moved(s *appsv1.DeploymentStatus) bool {
	was := &r.was
	return s.UpdatedReplicas > was.UpdatedReplicas ||
		s.Replicas-s.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		s.AvailableReplicas > was.AvailableReplicas
}

func (r *rollout) timedOut(had *appsv1.DeploymentCondition) bool {
	switch {
	case had == nil || had.Reason == reasonAvailable:
		return false
	case had.Reason == reasonTimedOut:
		return true
	}
	return had.LastUpdateTime.Add(r.patience()).Before(r.now)
}

// Overdue tells whether the rollout of a Deployment has had its time, so that Plan would like to know what keeps its pods from being ready.
func Overdue(d *appsv1.Deployment, now time.Time) bool {
	r := rollout{d: d, now: now}
	had := findCondition(d.Status.Conditions, appsv1.DeploymentProgressing)
	return hasDeadline(d) && had != nil && r.timedOut(had)
}

// failures shows in the Deployment why a ReplicaSet cannot make its pods; the newest comes first.
func (r *rollout) failures(s *appsv1.DeploymentStatus) {
	all := r.all()
	for _, a := range slices.Backward(all) {
		for _, c := range a.rs.Status.Conditions {
			if c.Type != appsv1.ReplicaSetReplicaFailure {
				continue
			}
			setCondition(s, appsv1.DeploymentCondition{
				Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
				LastUpdateTime: c.LastTransitionTime, LastTransitionTime: c.LastTransitionTime,
			})
			return
		}
	}
	dropCondition(s, appsv1.DeploymentReplicaFailure)
}

// untilDeadline is when the rollout has to be judged without a further event; zero for never.
func (r *rollout) untilDeadline(s *appsv1.DeploymentStatus) time.Duration {
	c := findCondition(s.Conditions, appsv1.DeploymentProgressing)
	if !hasDeadline(r.d) || c == nil || r.complete(s) {
		return 0
	}
	if c.Reason == reasonTimedOut || c.Reason == reasonAvailable || c.Reason == reasonPaused {
		return 0
	}
	// A second more, because times lose their fractions when they are kept.
	return max(0, c.LastUpdateTime.Add(r.patience()).Sub(r.now)) + time.Second
}

// patience is how long nothing may move: the deadline, and the time for which a pod must be ready to count.
func (r *rollout) patience() time.Duration {
	return deadline(r.d) + time.Duration(r.d.Spec.MinReadySeconds)*time.Second
}
