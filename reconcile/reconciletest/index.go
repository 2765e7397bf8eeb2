package reconciletest

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// index tells who belongs to whom. It is asked many times for each change, and made anew when something has changed.
type index struct {
	deployments []group    // in the order of the store
	revisions   []revision // in the order of the store
	revisionOf  []int      // of each pod; -1 for none
}

// group is what a Deployment owns.
type group struct {
	sets      []*appsv1.ReplicaSet
	revisions []int
	family    *family
	due       bool // it, or something below it, is to be looked at
}

// revision is a ReplicaSet with its pods, and with what really happens to each.
type revision struct {
	deployment int // -1 for none
	pods       []*corev1.Pod
	crews      []crew
}

// index returns who belongs to whom now. What it returns is good until the next change.
func (w *world) index() *index {
	x := &w.known
	if !w.stale {
		return x
	}
	w.stale = false
	x.deployments = sized(x.deployments, len(w.deployments))
	for i, d := range w.deployments {
		g := &x.deployments[i]
		g.sets, g.revisions, g.family = g.sets[:0], g.revisions[:0], w.familyOf(d)
	}
	x.revisions = sized(x.revisions, len(w.sets))
	for i, s := range w.sets {
		v := &x.revisions[i]
		v.pods, v.crews = v.pods[:0], v.crews[:0]
		v.deployment = place(w.deployments, ownerUID(s.OwnerReferences))
		if v.deployment >= 0 {
			g := &x.deployments[v.deployment]
			g.sets, g.revisions = append(g.sets, s), append(g.revisions, i)
		}
	}
	x.revisionOf = sized(x.revisionOf, len(w.pods))
	for i, p := range w.pods {
		at := place(w.sets, ownerUID(p.OwnerReferences))
		x.revisionOf[i] = at
		if at >= 0 {
			v := &x.revisions[at]
			v.pods, v.crews = append(v.pods, p), append(v.crews, w.crewOf(p))
		}
	}
	return x
}

// sized makes a list as long as another, keeping the room that its entries have.
func sized[T any](list []T, n int) []T {
	if n > cap(list) {
		list = slices.Grow(list[:cap(list)], n-cap(list))
	}
	return list[:n]
}

// place is where the object with a UID is in a list; -1 for nowhere.
func place[T interface{ GetUID() types.UID }](list []T, uid types.UID) int {
	if uid == "" {
		return -1
	}
	for i, o := range list {
		if o.GetUID() == uid {
			return i
		}
	}
	return -1
}

// setsOf returns the ReplicaSets of a Deployment, podsOf the pods of any other owner.
func (w *world) setsOf(owner types.UID) []*appsv1.ReplicaSet {
	if i := place(w.deployments, owner); i >= 0 {
		return w.index().deployments[i].sets
	}
	return nil
}

func (w *world) podsOf(owner types.UID) []*corev1.Pod {
	if i := place(w.sets, owner); i >= 0 {
		return w.index().revisions[i].pods
	}
	var pods []*corev1.Pod
	for _, p := range w.pods {
		if ownerUID(p.OwnerReferences) == owner {
			pods = append(pods, p)
		}
	}
	return pods
}

// markDue notes which Deployments have something left that is to be looked at.
func (w *world) markDue() *index {
	x := w.index()
	for i := range x.deployments {
		x.deployments[i].due = false
	}
	for _, k := range w.due {
		at := -1
		switch k.Kind {
		case reconcile.KindDeployment:
			_, at = find(w.deployments, k.Name)
		case reconcile.KindReplicaSet:
			if _, i := find(w.sets, k.Name); i >= 0 {
				at = x.revisions[i].deployment
			}
		case reconcile.KindPod:
			if _, i := find(w.pods, k.Name); i >= 0 && x.revisionOf[i] >= 0 {
				at = x.revisions[x.revisionOf[i]].deployment
			}
		}
		if at >= 0 {
			x.deployments[at].due = true
		}
	}
	return x
}

// The store changes only here. What takes the place of an object of the same UID has the same owner.

func (w *world) putDeployment(i int, d *appsv1.Deployment) { w.deployments[i] = d }

func (w *world) putSet(i int, s *appsv1.ReplicaSet) {
	old := w.sets[i]
	w.sets[i] = s
	if w.stale {
		return
	}
	if at := w.known.revisions[i].deployment; at >= 0 {
		swap(w.known.deployments[at].sets, old, s)
	}
}

func (w *world) putPod(i int, p *corev1.Pod) {
	old := w.pods[i]
	w.pods[i] = p
	w.trafficChanged(old, p)
	if w.stale {
		return
	}
	if at := w.known.revisionOf[i]; at >= 0 {
		swap(w.known.revisions[at].pods, old, p)
	}
}

func swap[T comparable](list []T, old, by T) {
	if i := slices.Index(list, old); i >= 0 {
		list[i] = by
	}
}

func (w *world) newDeployment(d *appsv1.Deployment) {
	w.deployments, w.stale = append(w.deployments, d), true
}
func (w *world) newSet(s *appsv1.ReplicaSet) { w.sets, w.stale = append(w.sets, s), true }
func (w *world) newPod(p *corev1.Pod)        { w.pods, w.stale = append(w.pods, p), true }

func (w *world) dropDeployment(i int) {
	w.deployments, w.stale = slices.Delete(w.deployments, i, i+1), true
}
func (w *world) dropSet(i int) { w.sets, w.stale = slices.Delete(w.sets, i, i+1), true }
func (w *world) dropPod(i int) {
	w.trafficChanged(w.pods[i], nil)
	w.pods, w.stale = slices.Delete(w.pods, i, i+1), true
}
