package deployment

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/request"
)

// A rollout that fails its deadline ends in one decision, a hold, which is written down before anything follows from it: killed at any moment,
// the next controller goes on with it. There is one such decision for each version of the file, and one for each request to undo.

// tookBack tells that the file's own rollout has failed and that the hold is the answer to it.
func (r *rollout) tookBack() bool { return r.hold != nil && r.hold.Cause != request.CauseUndo }

// holdEnds tells that there was a hold, and that it does not count any more.
func (r *rollout) holdEnds() bool {
	return r.hold == nil && r.d.Annotations[request.AnnotationHold] != ""
}

// released tells that a hold does not count any more, or that a user has asked for something else since berth went back. What failed before is no
// word on what comes, also when that is the same revision.
func (r *rollout) released() bool {
	if r.tookBack() {
		return false
	}
	had := findCondition(r.was.Conditions, ConditionRolledBack)
	return r.holdEnds() || had != nil && had.Reason == request.CauseDeadline
}

// judgeFailure decides what becomes of a rollout that has failed its deadline, and says what came of it. A large image on a slow line is no reason
// to go back: it would have to be asked for again.
func (r *rollout) judgeFailure(s *appsv1.DeploymentStatus) {
	if r.tookBack() {
		return
	}
	progressing := findCondition(s.Conditions, appsv1.DeploymentProgressing)
	failed := progressing != nil && progressing.Reason == reasonTimedOut
	if !failed || r.newest == nil || r.newest.proven() || !request.Auto(r.d.Annotations) {
		r.dropNothingReady(s)
		return
	}
	if r.pulling[r.newest.rs.Name] {
		r.waiting = true
		return
	}
	good := r.lastReady()
	if good == nil {
		if r.hold == nil { // the condition names what a user holds
			setCondition(s, r.condition(ConditionRolledBack, corev1.ConditionFalse, reasonNothingReady,
				r.failure()+". No earlier revision was ready, so it goes on trying."))
		}
		return
	}
	r.back = &request.Hold{
		Wish: wish(r.d, r.config), Run: good.rs.Name, From: r.newest.rs.Name, Cause: request.CauseDeadline, Since: metav1.NewTime(r.now),
		Message: fmt.Sprintf("%s. ReplicaSet %s runs, which was ready as revision %d", r.failure(), quote(good.rs.Name), good.readyAs()),
	}
	r.rolledBack(s, r.back)
}

// failure tells in a sentence what went wrong.
func (r *rollout) failure() string {
	name := r.newest.rs.Name
	text := fmt.Sprintf("Revision %s (ReplicaSet %s) was not ready within %s", r.newest.current()[AnnotationRevision], quote(name), deadline(r.d))
	if why := r.trouble[name]; why != "" {
		text += ": " + why
	}
	return text
}

// lastReady is the one of the other revisions that was complete last; nil if none ever was.
func (r *rollout) lastReady() *revision {
	var last *revision
	for _, v := range r.others {
		if v.readyAs() > 0 && (last == nil || v.readyAs() > last.readyAs()) {
			last = v
		}
	}
	return last
}

// needed tells whether an old revision is kept whatever the history limit says: it is what the Deployment would go back to, or what was
// restarted while it was held.
func (r *rollout) needed(v *revision) bool {
	if r.hold != nil && r.hold.Run == v.rs.Name {
		return true
	}
	// A proof counts once it is in the store.
	return (r.newest == nil || r.newest.annotations != nil || !r.newest.proven()) && v == r.lastReady()
}

// holdCondition says that another revision runs than the file's.
func (r *rollout) holdCondition(s *appsv1.DeploymentStatus) {
	had := findCondition(s.Conditions, ConditionRolledBack)
	switch {
	case r.hold != nil:
		r.rolledBack(s, r.hold)
	case had != nil && had.Status == corev1.ConditionTrue:
		dropCondition(s, ConditionRolledBack)
	}
}

// dropNothingReady takes back that there was nothing to go back to.
func (r *rollout) dropNothingReady(s *appsv1.DeploymentStatus) {
	if had := findCondition(s.Conditions, ConditionRolledBack); had != nil && had.Status == corev1.ConditionFalse {
		dropCondition(s, ConditionRolledBack)
	}
}

func (r *rollout) rolledBack(s *appsv1.DeploymentStatus, h *request.Hold) {
	c := r.condition(ConditionRolledBack, corev1.ConditionTrue, h.Cause, h.Text(""))
	c.LastUpdateTime, c.LastTransitionTime = h.Since, h.Since
	if had := findCondition(s.Conditions, ConditionRolledBack); had != nil && had.Message != c.Message {
		dropCondition(s, ConditionRolledBack)
	}
	setCondition(s, c)
}

// holdProgress keeps the failure in sight for as long as it was not answered by another file, as Kubernetes keeps it: tools that wait for the
// rollout fail.
func (r *rollout) holdProgress(s *appsv1.DeploymentStatus) {
	c := r.condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, "ReplicaSet "+quote(r.hold.From)+" has timed out progressing.")
	c.LastUpdateTime, c.LastTransitionTime = r.hold.Since, r.hold.Since
	setCondition(s, c)
}

// holds lists what has to be written down: a new hold, or the end of one that does not count any more.
func (r *rollout) holds() []reconcile.Action {
	had := r.d.Annotations[request.AnnotationHold]
	set := reconcile.SetAnnotation{Key: r.key(), UID: r.d.UID, Name: request.AnnotationHold, Old: had}
	event := reconcile.RecordEvent{Key: r.key(), UID: r.d.UID}
	switch {
	case r.back != nil:
		set.New = r.back.String()
		event.Warning, event.Reason, event.Message = true, "RolledBack", r.back.Text("")
	case r.holdEnds():
		event.Reason, event.Message = "HoldReleased", "The manifest's own revision rolls out again"
	default:
		return nil
	}
	return []reconcile.Action{set, event}
}
