package deployment

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile/request"
)

// annotationChangeCause is what a user wrote about a revision.
const annotationChangeCause = "kubernetes.io/change-cause"

// Revision is one entry of a Deployment's history.
type Revision struct {
	Number      int64  `json:"revision"`
	ReplicaSet  string `json:"replicaSet"`
	ChangeCause string `json:"changeCause,omitempty"`
}

// History lists the revisions of a Deployment, oldest first.
func History(in Input) []Revision {
	list := []Revision{}
	for _, rs := range in.ReplicaSets {
		if n := revisionNumber(rs); n > 0 {
			list = append(list, Revision{Number: n, ReplicaSet: rs.Name, ChangeCause: rs.Annotations[annotationChangeCause]})
		}
	}
	slices.SortFunc(list, func(a, b Revision) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// Undo is a request to run another revision than the one that runs: the one before it, or the one of a number, until the file states something
// else. It returns the annotations that the Deployment shall have, and the revision it goes back to. Back at the file's own revision, nothing is
// held any more.
func Undo(in Input, number int64) (annotations map[string]string, back Revision, err error) {
	r := newRollout(in)
	if r.isPaused() {
		return nil, Revision{}, fmt.Errorf("cannot roll back deployment %q: it is paused; resume it first and try again", r.d.Name)
	}
	v := r.numbered(number)
	switch {
	case v == nil && number > 0:
		return nil, Revision{}, fmt.Errorf("unable to find specified revision %d in history", number)
	case v == nil:
		return nil, Revision{}, fmt.Errorf("no rollout history found for deployment %q", r.d.Name)
	}
	back = Revision{Number: revisionNumber(v.rs), ReplicaSet: v.rs.Name}
	had := r.d.Annotations
	switch {
	case v == r.newest:
		return had, back, nil
	case r.states(v.rs):
		return request.With(had, request.AnnotationHold, ""), back, nil
	}
	hold := request.Hold{
		Wish: wish(r.d, r.config), Run: v.rs.Name, Cause: request.CauseUndo, Since: metav1.NewTime(r.now),
		Message: fmt.Sprintf("ReplicaSet %s runs, which was revision %d, as asked for by undo", quote(v.rs.Name), back.Number),
	}
	if r.newest != nil {
		hold.From = r.newest.rs.Name
	}
	return request.With(had, request.AnnotationHold, hold.String()), back, nil
}

// numbered finds a revision by its number, or for 0 the one before the last.
func (r *rollout) numbered(number int64) *revision {
	all := slices.Clone(r.all())
	all = slices.DeleteFunc(all, func(v *revision) bool { return revisionNumber(v.rs) == 0 })
	slices.SortFunc(all, func(a, b *revision) int { return cmp.Compare(revisionNumber(b.rs), revisionNumber(a.rs)) })
	for i, v := range all {
		if number == 0 && i == 1 || number > 0 && revisionNumber(v.rs) == number {
			return v
		}
	}
	return nil
}

// Progress tells how a rollout gets on, in the words of kubectl: what it waits for, whether it is done, and with an error that it has failed.
func Progress(in Input) (text string, done bool, err error) {
	r := newRollout(in)
	s := &r.d.Status
	name := quote(r.d.Name)
	if s.ObservedGeneration < r.d.Generation || r.unseen() {
		return "Waiting for deployment spec update to be observed...", false, nil
	}
	waiting := "Waiting for deployment " + name + " rollout to finish: "
	if c := findCondition(s.Conditions, "Progressing"); c != nil && c.Reason == reasonTimedOut {
		err := fmt.Errorf("deployment %s exceeded its progress deadline", name)
		if back := findCondition(s.Conditions, ConditionRolledBack); back != nil {
			err = fmt.Errorf("%w: %s", err, back.Message)
		}
		return "", false, err
	}
	switch {
	case s.UpdatedReplicas < r.desired():
		return fmt.Sprintf("%s%d out of %d new replicas have been updated...", waiting, s.UpdatedReplicas, r.desired()), false, nil
	case s.Replicas > s.UpdatedReplicas:
		return fmt.Sprintf("%s%d old replicas are pending termination...", waiting, s.Replicas-s.UpdatedReplicas), false, nil
	case s.AvailableReplicas < s.UpdatedReplicas:
		return fmt.Sprintf("%s%d of %d updated replicas are available...", waiting, s.AvailableReplicas, s.UpdatedReplicas), false, nil
	}
	return "deployment " + name + " successfully rolled out", true, nil
}

// unseen tells that no pass has taken in yet which revision shall run.
func (r *rollout) unseen() bool {
	return r.newest == nil || r.newest.current()[AnnotationRevision] != r.d.Annotations[AnnotationRevision] || r.released()
}
