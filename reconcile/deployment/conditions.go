package deployment

import (
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	case r.d.Spec.Paused && !wasPaused:
		r.progress(&r.was, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !r.d.Spec.Paused && wasPaused:
		r.progress(&r.was, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

func quote(s string) string { return strconv.Quote(s) }
