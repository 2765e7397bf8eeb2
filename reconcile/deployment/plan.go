package deployment

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"berth/reconcile"
)

// pullPause is when an overdue rollout is looked at again that waits for an image: the end of a pull alone changes no ReplicaSet.
const pullPause = 10 * time.Second

// rolled ends a pass of a rollout: status, deadline, what is known of its success, and the end of revisions that nobody will go back to.
func (r *rollout) rolled() reconcile.Plan {
	status := r.rolloutStatus()
	if r.complete(&status) {
		if r.desired() > 0 { // none of none proves nothing
			r.newest.set(annotationReady, r.newest.current()[AnnotationRevision])
		}
		r.forgetOld()
	}
	plan := r.plan(status)
	plan.RequeueAfter = r.untilDeadline(&status)
	if r.waiting {
		plan.RequeueAfter = pullPause
	}
	if r.patient > 0 && (plan.RequeueAfter == 0 || r.patient < plan.RequeueAfter) {
		plan.RequeueAfter = r.patient
	}
	return plan
}

// forgetOld drops the oldest empty revisions beyond the history limit.
func (r *rollout) forgetOld() {
	limit := r.d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == math.MaxInt32 {
		return
	}
	if len(r.others) <= int(*limit) {
		return
	}
	old := slices.Clone(r.others)
	slices.SortStableFunc(old, func(a, b *revision) int { return cmp.Compare(revisionNumber(a.rs), revisionNumber(b.rs)) })
	for _, v := range old[:max(0, len(old)-int(*limit))] {
		s := v.rs.Status
		unsettled := v.rs.Generation > s.ObservedGeneration || (s.TerminatingReplicas != nil && *s.TerminatingReplicas > 0)
		if v.size == 0 && v.wasSize() == 0 && s.Replicas == 0 && !unsettled && !r.needed(v) {
			v.gone = true
		}
	}
}

// plan lists what has to be done so that the store holds what this pass has decided.
func (r *rollout) plan(status appsv1.DeploymentStatus) reconcile.Plan {
	var p reconcile.Plan
	for _, v := range r.all() {
		p.Actions = append(p.Actions, r.change(v)...)
	}
	number := r.d.Annotations[AnnotationRevision]
	if r.newest != nil {
		number = r.newest.current()[AnnotationRevision]
	}
	if !sameStatus(&status, &r.d.Status) {
		d := *r.d // what is not of the status is shared: nobody writes into an object
		d.Status = status
		p.Actions = append(p.Actions, reconcile.UpdateStatus{Object: &d})
	}
	// After the status: as long as the number is not that of the revision to run, its rollout has yet to begin.
	if had := r.d.Annotations[AnnotationRevision]; number != had {
		p.Actions = append(p.Actions, reconcile.SetAnnotation{Key: r.key(), UID: r.d.UID, Name: AnnotationRevision, Old: had, New: number})
	}
	p.Actions = append(p.Actions, r.holds()...)
	return p
}

func (r *rollout) change(v *revision) []reconcile.Action {
	key := reconcile.Key{Kind: reconcile.KindReplicaSet, Namespace: v.rs.Namespace, Name: v.rs.Name}
	switch {
	case v.gone:
		return []reconcile.Action{reconcile.DeleteObject{Key: key, UID: v.rs.UID, Reason: "beyond the revision history limit"}}
	case v.fresh:
		rs := v.rs.DeepCopy()
		rs.Spec.Replicas = &v.size
		rs.Annotations = maps.Clone(v.annotations)
		return append([]reconcile.Action{reconcile.CreateObject{Object: rs}}, r.note(v)...)
	case v.size != v.wasSize() || v.annotations != nil || v.minReady != v.rs.Spec.MinReadySeconds:
		update := reconcile.UpdateReplicaSet{
			Key: key, UID: v.rs.UID, Replicas: v.size, Annotations: maps.Clone(v.current()), MinReadySeconds: v.minReady, Reason: v.reason,
		}
		return append([]reconcile.Action{update}, r.note(v)...)
	}
	return nil
}

// note tells of a change of size.
func (r *rollout) note(v *revision) []reconcile.Action {
	if v.size == v.wasSize() {
		return nil
	}
	direction := "up"
	if v.size < v.wasSize() {
		direction = "down"
	}
	return []reconcile.Action{reconcile.RecordEvent{
		Key: r.key(), UID: r.d.UID, Reason: "ScalingReplicaSet",
		Message: fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, v.rs.Name, v.wasSize(), v.size),
	}}
}

func (r *rollout) key() reconcile.Key {
	return reconcile.Key{Kind: reconcile.KindDeployment, Namespace: r.d.Namespace, Name: r.d.Name}
}
