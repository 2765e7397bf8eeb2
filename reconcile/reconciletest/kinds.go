package reconciletest

import (
	"reflect"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/request"
)

// kind is a kind of workload beside Deployments: how a world comes by one, what its planner is asked, and what must hold for it. A new kind is
// an entry of the table, in a file of its own. What may be nil says so.
type kind struct {
	name string
	// make is a new one as a file states it, without UID; its name and the label app of its template are given. nil for what only planners make.
	make func(w *world, name string) reconcile.Object
	// edit changes a copy, as its file could be edited; heal makes a copy's wish one that can be fulfilled, and does what a user must do by hand.
	// What they do not replace is shared with the original.
	edit, heal func(w *world, obj reconcile.Object)
	// summary is the wish in some words, for the trace.
	summary func(obj reconcile.Object) string
	// plan asks the planner.
	plan func(w *world, obj reconcile.Object) reconcile.Plan
	// recall is what a restarted controller knows of a status that is not looked at again: called with a copy. nil for nothing.
	recall func(obj reconcile.Object)

	// What must hold; each may be nil. made judges a pod that was just made, ending one that is about to be ended (by a planner), lost
	// an object that is about to be deleted (by a planner), idle a moment in which nobody has anything to do.
	made, ending func(w *world, obj reconcile.Object, p *corev1.Pod)
	// madeObject judges another object that was just made for one of this kind, reported what a planner is about to write into a status.
	madeObject func(w *world, obj, n reconcile.Object)
	reported   func(w *world, old, n reconcile.Object)
	lost       func(w *world, obj reconcile.Object)
	// gone makes due who waits for an object that is no more, beside its owner.
	gone func(w *world, obj reconcile.Object)
	idle func(w *world, obj reconcile.Object)
	// complete judges the end, and returns how many pods there shall be.
	complete func(w *world, obj reconcile.Object) int
}

// kinds is the table.
func kinds() []*kind {
	return []*kind{
		replicationControllers(),
		statefulSets(),
		claims(),
		persistentVolumes(),
		daemonSets(),
		cronJobs(),
		jobs(),
	}
}

// most is how many workloads there are at a time, Deployments included; least how many there are at the beginning.
const least, most = 3, 4

// workloads are the kept objects that files state, and the number of Deployments.
func (w *world) workloads() int {
	n := len(w.deployments)
	for _, o := range w.objects {
		if w.isStated(o) {
			n++
		}
	}
	return n
}

// isStated tells whether a file states an object, and no planner has made it.
func (w *world) isStated(o reconcile.Object) bool {
	k := w.kindOf(o)
	return k != nil && k.make != nil && ownerUID(o.GetOwnerReferences()) == ""
}

func (w *world) kindOf(o reconcile.Object) *kind { return w.kinds[reconcile.KeyOf(o).Kind] }

// addWorkload adds a Deployment or one of the other kinds.
func (w *world) addWorkload() {
	if len(w.stated) == 0 || w.rng.IntN(2) == 0 {
		w.addDeployment()
		return
	}
	k := pick(w, w.stated...)
	w.named++
	name := "w" + strconv.Itoa(w.named%6)
	if _, i := w.object(key(k.name, name)); i >= 0 {
		return
	}
	o := k.make(w, name)
	o.SetNamespace(namespace)
	o.SetName(name)
	w.keep(o)
	if w.tracing {
		w.say("EVENT add %s %s: %s", k.name, name, k.summary(o))
	}
	w.enqueue(key(k.name, name))
}

// editWorkload changes the nth kept object that files state, or deletes it.
func (w *world) editWorkload(n int) {
	i := slices.IndexFunc(w.objects, func(o reconcile.Object) bool {
		if w.isStated(o) {
			n--
		}
		return n < 0
	})
	o := w.objects[i]
	if w.rng.IntN(16) == 0 {
		w.say("EVENT delete %s", reconcile.KeyOf(o))
		w.drop(i)
		return
	}
	n = i
	o = copyOf(o)
	if w.rng.IntN(16) == 0 {
		o.SetAnnotations(request.Restarted(o.GetAnnotations(), strconv.Itoa(w.happened))) // where pods cannot be restarted it says nothing
	} else {
		w.kindOf(o).edit(w, o)
	}
	w.reword(n, o)
}

// reword puts what a file says now in the place of what it said.
func (w *world) reword(i int, o reconcile.Object) {
	o.SetGeneration(o.GetGeneration() + 1)
	w.objects[i] = o
	if w.tracing {
		w.say("EVENT edit %s: %s", reconcile.KeyOf(o), w.kindOf(o).summary(o))
	}
	w.enqueue(reconcile.KeyOf(o))
}

func (w *world) healWorkloads() {
	for i, o := range slices.Clone(w.objects) {
		if k := w.kindOf(o); w.isStated(o) && k.heal != nil {
			o = copyOf(o)
			k.heal(w, o)
			w.reword(i, o)
		}
	}
}

// The kept objects: all but Deployments, ReplicaSets and Pods, in the order in which they were made.

func (w *world) object(k reconcile.Key) (reconcile.Object, int) {
	for i, o := range w.objects {
		if o.GetName() == k.Name && reconcile.KeyOf(o) == k {
			return o, i
		}
	}
	return nil, -1
}

func (w *world) objectByUID(uid types.UID) reconcile.Object {
	if i := place(w.objects, uid); i >= 0 {
		return w.objects[i]
	}
	return nil
}

// ownedBy lists the kept objects of type T whose controller has the UID.
func ownedBy[T reconcile.Object](w *world, uid types.UID) []T {
	var list []T
	for _, o := range w.objects {
		if t, ok := o.(T); ok && ownerUID(o.GetOwnerReferences()) == uid {
			list = append(list, t)
		}
	}
	return list
}

// keep adds an object.
func (w *world) keep(o reconcile.Object) {
	o.SetUID(w.newUID())
	o.SetGeneration(1)
	w.objects = append(w.objects, o)
	w.enqueueAbove(o)
}

// drop forgets an object. What it owned, and those who wait for it to be gone, are looked at.
func (w *world) drop(i int) {
	o := w.objects[i]
	w.objects = slices.Delete(w.objects, i, i+1)
	w.enqueue(gcKey)
	w.enqueueAbove(o)
	if k := w.kindOf(o); k != nil && k.gone != nil {
		k.gone(w, o)
	}
}

// enqueueAbove makes an object due and the one that controls it.
func (w *world) enqueueAbove(o reconcile.Object) {
	if w.kindOf(o) != nil {
		w.enqueue(reconcile.KeyOf(o))
	}
	for _, r := range o.GetOwnerReferences() {
		w.enqueue(key(r.Kind, r.Name))
	}
	if isStorage(o) {
		w.storageDue(o)
	}
}

func (w *world) updateObject(o reconcile.Object) {
	if p, ok := o.(*corev1.Pod); ok {
		w.relabel(p)
		return
	}
	old, i := w.object(reconcile.KeyOf(o))
	if i < 0 || old.GetUID() != o.GetUID() {
		return
	}
	n := copyOf(o)
	if status := statusOf(n); status.IsValid() {
		status.Set(statusOf(old))
	}
	n.SetGeneration(old.GetGeneration() + 1)
	w.objects[i] = n
	w.enqueueAbove(n)
	w.enqueueAbove(old)
}

// relabel gives a pod other metadata: nothing else of a pod is ever changed.
func (w *world) relabel(n *corev1.Pod) {
	old, i := find(w.pods, n.Name)
	if i < 0 || old.UID != n.UID {
		return
	}
	p := *old
	p.Labels, p.Annotations = n.Labels, n.Annotations
	w.putPod(i, &p)
	w.enqueue(podKey(&p))
	w.enqueueOwner(&p)
}

func (w *world) deleteObject(a reconcile.DeleteObject) {
	o, i := w.object(a.Key)
	if i < 0 || o.GetUID() != a.UID {
		return
	}
	if k := w.kindOf(o); k != nil && k.lost != nil {
		k.lost(w, o)
	}
	if isStorage(o) {
		w.endStorage(a.Key)
		return
	}
	w.drop(i)
}

// updateObjectStatus takes only the status, and the record that belongs to it.
func (w *world) updateObjectStatus(n reconcile.Object) {
	old, i := w.object(reconcile.KeyOf(n))
	if i < 0 || old.GetUID() != n.GetUID() {
		return
	}
	if k := w.kindOf(old); k != nil && k.reported != nil {
		k.reported(w, old, n)
	}
	o := copyOf(old)
	statusOf(o).Set(statusOf(n))
	o.SetAnnotations(request.With(o.GetAnnotations(), reconcile.AnnotationRecord, n.GetAnnotations()[reconcile.AnnotationRecord]))
	w.objects[i] = o
	w.enqueueAbove(o)
}

// forgetObjects lets kept objects be as a restarted controller finds them.
func (w *world) forgetObjects() {
	for i, o := range w.objects {
		o = copyOf(o)
		if k := w.kindOf(o); k != nil && k.recall != nil {
			k.recall(o)
		} else if status := statusOf(o); status.IsValid() {
			status.SetZero()
		}
		w.objects[i] = o
	}
}

// copyOf is a copy that shares what it points to.
func copyOf[T reconcile.Object](o T) T {
	c := reflect.New(reflect.TypeOf(o).Elem())
	c.Elem().Set(reflect.ValueOf(o).Elem())
	out, _ := reflect.TypeAssert[T](c) // it is of o's type
	return out
}

// statusOf is the field of that name; the zero Value where there is none.
func statusOf(o reconcile.Object) reflect.Value {
	return reflect.ValueOf(o).Elem().FieldByName("Status")
}

// podIsDue tells whether a pod is still to be looked at: what is said of it may not be true any more.
func (w *world) podIsDue(p *corev1.Pod) bool { return slices.Contains(w.due, podKey(p)) }
