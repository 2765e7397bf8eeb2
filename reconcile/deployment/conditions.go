package deployment

import (
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile/request"
)

// Reasons of conditions, in Kubernetes' words: tools look for them.
const (
	reasonFoundReplicaSet   = "FoundNewReplicaSet"
	reasonNewReplicaSet     = "NewReplicaSetCreated"
	reasonUpdated           = "ReplicaSetUpdated"
	reasonAvailable         = "NewReplicaSetAvailable"
	reasonTimedOut          = "ProgressDeadlineExceeded"
	reasonPaused            = "DeploymentPaused"
	reasonResumed           = "DeploymentResumed"
	reasonMinimumAvailable  = "MinimumReplicasAvailable"
	reasonMinimumNotReached = "MinimumReplicasUnavailable"
)

// ConditionRolledBack is berth's own condition of Deployments: True while another revision than the file's is held, and False when there
// was none to go back to. Its message names both.
const ConditionRolledBack appsv1.DeploymentConditionType = "RolledBack"

// reasonNothingReady is why a rollout that failed was not taken back.
const reasonNothingReady = "NoReadyRevision"

// hasDeadline tells whether progress is watched: the greatest number means never.
func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

func findCondition(conditions []appsv1.DeploymentCondition, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range conditions {
		if conditions[i].Type == kind {
			return &conditions[i]
		}
	}
	return nil
}

// setCondition puts a condition; one with the same status and reason stays untouched, times and message included.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	had := findCondition(s.Conditions, c.Type)
	if had != nil && had.Status == c.Status && had.Reason == c.Reason {
		return
	}
	if had != nil && had.Status == c.Status {
		c.LastTransitionTime = had.LastTransitionTime
	}
	dropCondition(s, c.Type)
	s.Conditions = append(slices.Clip(s.Conditions), c)
}

func dropCondition(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	if findCondition(s.Conditions, kind) == nil {
		return
	}
	s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
	if len(s.Conditions) == 0 {
		s.Conditions = nil
	}
}

func (r *rollout) condition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
	now := metav1.NewTime(r.now)
	return appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
}

func (r *rollout) progress(s *appsv1.DeploymentStatus, status corev1.ConditionStatus, reason, message string) {
	setCondition(s, r.condition(appsv1.DeploymentProgressing, status, reason, message))
}

// begin starts the time that a rollout has, whatever was said of the one before. One that was taken back stays failed.
func (r *rollout) begin(reason, message string) {
	if !hasDeadline(r.d) || r.tookBack() {
		return
	}
	c := r.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reason, message)
	if had := findCondition(r.was.Conditions, c.Type); had != nil && had.Status == c.Status {
		c.LastTransitionTime = had.LastTransitionTime
	}
	dropCondition(&r.was, c.Type)
	setCondition(&r.was, c)
}

// found says how far the revision to run is known. If it has just become the one to run, or is held for another reason or not any more, its rollout begins; if nothing is known of its progress,
// as after a restart of berth, and it was complete before, nothing is to be waited for.
func (r *rollout) found() {
	if r.newest == nil {
		if r.released() { // under Recreate its revision is made when the old pods are gone
			r.begin(reasonUpdated, "Deployment "+quote(r.d.Name)+" is progressing.")
		}
		return
	}
	name := quote(r.newest.rs.Name)
	switch {
	case r.newest.current()[AnnotationRevision] != r.d.Annotations[AnnotationRevision] || r.released():
		r.begin(reasonFoundReplicaSet, "Found new replica set "+name)
	case findCondition(r.was.Conditions, appsv1.DeploymentProgressing) != nil:
	case r.newest.proven():
		r.begin(reasonAvailable, "ReplicaSet "+name+" has successfully progressed.")
	default:
		r.begin(reasonFoundReplicaSet, "Found new replica set "+name)
	}
}

// isPaused tells whether the file or a user pauses the rollout.
func (r *rollout) isPaused() bool { return r.d.Spec.Paused || request.Paused(r.d.Annotations) }

// pauseConditions notes the moments of pausing and resuming, so that the pause does not count towards the deadline.
func (r *rollout) pauseConditions() {
	if !hasDeadline(r.d) || r.d.DeletionTimestamp != nil {
		return
	}
	had := findCondition(r.was.Conditions, appsv1.DeploymentProgressing)
	if had != nil && had.Reason == reasonTimedOut {
		return
	}
	wasPaused := had != nil && had.Reason == reasonPaused
	switch {
	case r.isPaused() && !wasPaused:
		r.progress(&r.was, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !r.isPaused() && wasPaused:
		r.progress(&r.was, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

func quote(s string) string { return strconv.Quote(s) }
