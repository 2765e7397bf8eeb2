package reconciletest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/adoption"
	"berth/reconcile/request"
)

// orphans are the Deployments that were deleted alone in some worlds, and come again: what they had made goes on meanwhile, and is theirs then. They draw
// from a stream of their own, so that the lives of other worlds are as they were without.
type orphans struct {
	rng  *rand.Rand
	left []*appsv1.Deployment
}

func newOrphans(seed uint64) *orphans {
	return &orphans{rng: rand.New(rand.NewPCG(seed, 0x6f727068616e))}
}

// maybeOrphan lets a Deployment go alone, or one that went come again.
func (w *world) maybeOrphan() {
	o := w.orphans
	if o == nil || o.rng.IntN(8) > 0 {
		return
	}
	switch n := len(o.left); {
	case n > 0 && o.rng.IntN(2) == 0:
		w.comeAgain(o.rng.IntN(n))
	case len(w.deployments) > 0:
		w.leaveAlone(o.rng.IntN(len(w.deployments)))
	}
}

func (w *world) leaveAlone(i int) {
	d := w.deployments[i]
	w.say("EVENT delete Deployment %s alone", d.Name)
	for _, s := range slices.Clone(w.setsOf(d.UID)) {
		w.own(s, nil)
	}
	w.orphans.left = append(w.orphans.left, d)
	w.dropDeployment(i)
	w.enqueue(gcKey, key(reconcile.KindDeployment, d.Name))
}

// own gives a ReplicaSet an owner, or none.
func (w *world) own(s *appsv1.ReplicaSet, owner *reconcile.AdoptObject) {
	_, i := find(w.sets, s.Name)
	n := *s
	n.OwnerReferences = nil
	if owner != nil {
		n.OwnerReferences = append(n.OwnerReferences, owner.Owner)
	}
	w.sets[i], w.stale = &n, true
	w.enqueue(key(reconcile.KindReplicaSet, n.Name), gcKey)
}

// comeAgain states a Deployment anew, as its file did, unless another one of its name has come before.
func (w *world) comeAgain(i int) {
	d := w.orphans.left[i].DeepCopy()
	w.orphans.left = slices.Delete(w.orphans.left, i, i+1)
	if _, there := find(w.deployments, d.Name); there >= 0 {
		return
	}
	before := w.versionOf(d.UID).config
	d.UID, d.Generation, d.Status = w.newUID(), 1, appsv1.DeploymentStatus{}
	maps.DeleteFunc(d.Annotations, func(name, _ string) bool { return name != request.AnnotationAuto })
	w.versionOf(d.UID).config = before
	w.tried(d.UID)
	w.newDeployment(d)
	w.say("EVENT Deployment %s comes again", d.Name)
	w.enqueue(key(reconcile.KindDeployment, d.Name))
}

// planAdoption asks what a Deployment adopts.
func (w *world) planAdoption(d *appsv1.Deployment) reconcile.Plan {
	if w.orphans == nil {
		return reconcile.Plan{}
	}
	in := adoption.Input{Owner: d, Kind: appsv1.SchemeGroupVersion.WithKind(reconcile.KindDeployment), Selector: d.Spec.Selector}
	for _, s := range w.setsOf(d.UID) {
		in.Owned = append(in.Owned, s)
	}
	for _, s := range w.sets {
		if isOrphan(s) {
			in.Orphans = append(in.Orphans, s)
		}
	}
	return adoption.Plan(in)
}

func adopts(p reconcile.Plan) bool {
	return slices.ContainsFunc(p.Actions, func(a reconcile.Action) bool { _, ok := a.(reconcile.AdoptObject); return ok })
}

func isOrphan(s *appsv1.ReplicaSet) bool { return ownerUID(s.OwnerReferences) == "" }

// adopt makes a ReplicaSet a Deployment's. What it has at that moment its planner finds there: it is not held against it.
func (w *world) adopt(a reconcile.AdoptObject) {
	s, i := find(w.sets, a.Key.Name)
	at := place(w.deployments, a.Owner.UID)
	if i < 0 || s.UID != a.UID || !isOrphan(s) || at < 0 {
		w.fail("Deployment %s adopts %s, which is not there or another's", a.Owner.Name, a.Key)
		return
	}
	d := w.deployments[at]
	if s.Labels["app"] != d.Name && s.Spec.Template.Labels["app"] != d.Name {
		w.fail("Deployment %s adopts %s, which it does not select", d.Name, s.Name)
	}
	w.own(s, &a)
	w.enqueue(key(reconcile.KindDeployment, d.Name))
	f := w.familyOf(d)
	f.limit, f.floor, f.apart, f.disturbed = max(f.limit, w.activeOf(d)), 0, false, true
	v := w.versionOf(d.UID)
	v.begun, v.jumps, v.ready = w.clock.since, w.clock.jumps, w.provenOf(d)
}

// provenOf lists the revisions of a Deployment that were complete, the last one last.
func (w *world) provenOf(d *appsv1.Deployment) (ready []types.UID) {
	sets := slices.Clone(w.setsOf(d.UID))
	number := func(s *appsv1.ReplicaSet) int { n, _ := strconv.Atoi(s.Annotations[annotationReady]); return n }
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int { return number(a) - number(b) })
	for _, s := range sets {
		if number(s) > 0 {
			ready = append(ready, s.UID)
		}
	}
	return ready
}

// checkOrphan holds that no planner ends a pod of an orphan that has not one too many.
func (w *world) checkOrphan(p *corev1.Pod) {
	s := w.setByUID(ownerUID(p.OwnerReferences))
	if w.orphans == nil || s == nil || !isOrphan(s) || !isActive(p) {
		return
	}
	active := int32(0)
	for _, sibling := range w.podsOf(s.UID) {
		if isActive(sibling) {
			active++
		}
	}
	if active <= *s.Spec.Replicas {
		w.fail("pod %s of the orphan %s is ended", describe(p), s.Name)
	}
}

// checkOrphanSet holds that no planner forgets an orphan.
func (w *world) checkOrphanSet(s *appsv1.ReplicaSet) {
	if w.orphans != nil && isOrphan(s) {
		w.fail("the orphan %s is deleted", s.Name)
	}
}

// healOrphans lets every Deployment come again that went alone. What nobody came back for in time, as one came and went for good before it adopted
// anything, is deleted as a user would.
func (w *world) healOrphans() {
	if w.orphans == nil {
		return
	}
	for len(w.orphans.left) > 0 {
		w.comeAgain(0)
	}
	for i, s := range slices.Backward(w.sets) {
		if _, at := find(w.deployments, s.Spec.Template.Labels["app"]); isOrphan(s) && at < 0 {
			w.dropSet(i)
			w.enqueue(gcKey)
		}
	}
}
