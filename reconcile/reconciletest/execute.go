package reconciletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/runtime"
)

// background is for the fake machine, which never blocks.
var background = context.Background() //nolint:forbidigo // nothing here is ever cancelled

// errKilled is the end of a controller in the middle of a plan.
var errKilled = errors.New("the controller was killed")

// Objects are never written into: a change makes a new one, which shares with the old one what stays.

// execute carries out one action, as the controller does, and makes due what depends on it.
func (w *world) execute(a reconcile.Action) error {
	if w.killIn > 0 {
		if w.killIn--; w.killIn == 0 {
			return errKilled
		}
	}
	switch a := a.(type) {
	case reconcile.CreateObject:
		return w.createObject(a.Object)
	case reconcile.UpdateReplicaSet:
		w.updateSet(a)
	case reconcile.UpdateObject:
		w.updateObject(a.Object)
	case reconcile.DeleteObject:
		if a.Key.Kind == reconcile.KindReplicaSet {
			w.deleteSet(a)
		} else {
			w.deleteObject(a)
		}
	case reconcile.AdoptObject:
		w.adopt(a)
	case reconcile.CreatePod:
		return w.createPod(a.Pod)
	case reconcile.DeletePod:
		w.deletePod(a)
	case reconcile.SetAnnotation:
		w.setAnnotation(a)
	case reconcile.UpdateStatus:
		w.updateStatus(a)
	case reconcile.RecordEvent:
	case reconcile.ProvisionVolume, reconcile.BindClaim, reconcile.UnbindVolume, reconcile.RemoveClaim, reconcile.RemoveVolume:
		return w.executeStorage(a)
	case reconcile.PullImage:
		w.pull(a)
	case reconcile.RunSandbox, reconcile.UpdateFiles, reconcile.StartContainer, reconcile.RunHook, reconcile.SignalContainer,
		reconcile.KillContainer, reconcile.RemoveContainer, reconcile.StopSandbox, reconcile.RemoveSandbox, reconcile.ForgetPod:
		return w.executeOnMachine(a)
	case reconcile.Scale:
		w.fail("%s is scaled, and nobody measures it", a.Key)
	case reconcile.EvictPod:
		w.fail("%s is evicted, and nobody measures it", a.Pod)
	case reconcile.ObtainCertificate, reconcile.ReleaseObject:
		w.fail("nobody carries out %T", a)
	}
	return nil
}

func (w *world) createObject(obj reconcile.Object) error {
	if rs, ok := obj.(*appsv1.ReplicaSet); ok {
		return w.createSet(rs)
	}
	if _, i := w.object(reconcile.KeyOf(obj)); i >= 0 {
		return fmt.Errorf("cannot create %s: it exists", reconcile.KeyOf(obj))
	}
	n := copyOf(obj)
	w.keep(n)
	if owner := w.objectByUID(ownerUID(n.GetOwnerReferences())); owner != nil && w.kindOf(owner).madeObject != nil {
		w.kindOf(owner).madeObject(w, owner, n)
	}
	return nil
}

func (w *world) createSet(rs *appsv1.ReplicaSet) error {
	if _, i := find(w.sets, rs.Name); i >= 0 {
		return fmt.Errorf("cannot create ReplicaSet %q: it exists", rs.Name)
	}
	n := *rs
	n.UID, n.Generation = w.newUID(), 1
	w.checkTemplates(&n)
	w.newSet(&n)
	w.enqueue(key(reconcile.KindReplicaSet, n.Name))
	w.enqueueDeployment(&n)
	return nil
}

func (w *world) enqueueDeployment(rs *appsv1.ReplicaSet) {
	for _, r := range rs.OwnerReferences {
		w.enqueue(key(reconcile.KindDeployment, r.Name))
	}
}

func (w *world) updateSet(a reconcile.UpdateReplicaSet) {
	rs, i := find(w.sets, a.Key.Name)
	if i < 0 || rs.UID != a.UID {
		return
	}
	n := *rs
	if *rs.Spec.Replicas != a.Replicas || rs.Spec.MinReadySeconds != a.MinReadySeconds {
		n.Generation++
	}
	n.Spec.Replicas, n.Spec.MinReadySeconds, n.Annotations = &a.Replicas, a.MinReadySeconds, a.Annotations
	w.checkReady(rs, &n)
	w.putSet(i, &n)
	w.enqueue(a.Key)
	w.enqueueDeployment(&n)
}

func (w *world) deleteSet(a reconcile.DeleteObject) {
	rs, i := find(w.sets, a.Key.Name)
	if i < 0 || rs.UID != a.UID {
		return
	}
	w.checkForgotten(rs)
	w.checkOrphanSet(rs)
	w.dropSet(i)
	w.enqueue(gcKey, a.Key)
	w.enqueueDeployment(rs)
}

func (w *world) createPod(p *corev1.Pod) error {
	if _, i := find(w.pods, p.Name); i >= 0 {
		return fmt.Errorf("cannot create Pod %q: it exists", p.Name)
	}
	n := *p
	n.UID, n.Generation = w.newUID(), 1
	n.Spec.NodeName = "sim"
	w.newPod(&n)
	w.born[n.UID] = w.clock.jumps
	w.checkCreated(&n)
	w.enqueue(podKey(&n))
	w.enqueueOwner(&n)
	return nil
}

func (w *world) enqueueOwner(p *corev1.Pod) {
	if owner := ownerUID(p.OwnerReferences); owner == "" {
		w.enqueue(key(reconcile.KindBarePod, p.Name))
	} else if rs := w.setByUID(owner); rs != nil {
		w.enqueue(key(reconcile.KindReplicaSet, rs.Name))
	} else if o := w.objectByUID(owner); o != nil {
		w.enqueue(reconcile.KeyOf(o))
	}
}

func (w *world) deletePod(a reconcile.DeletePod) {
	p, i := find(w.pods, a.Key.Name)
	if i < 0 || p.UID != a.UID {
		return
	}
	seconds := int64(30)
	if p.Spec.TerminationGracePeriodSeconds != nil {
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	if a.Grace != nil {
		seconds = *a.Grace
	}
	end := metav1.NewTime(w.clock.wall.Add(time.Duration(seconds) * time.Second))
	if p.DeletionTimestamp != nil && !end.Before(p.DeletionTimestamp) {
		return
	}
	w.checkDeleted(p)
	w.checkOrphan(p)
	w.endPod(i, end, seconds)
}

// userEnds ends a pod as somebody does by hand: whatever its planners count on is true no more.
func (w *world) userEnds(p *corev1.Pod) {
	_, i := find(w.pods, p.Name)
	if p.DeletionTimestamp != nil || i < 0 {
		return
	}
	w.say("EVENT pod %s is deleted by hand", describe(p))
	w.disturb(p.UID)
	grace := w.graceOf(p)
	w.noteEnd(p)
	w.endPod(i, metav1.NewTime(w.clock.wall.Add(grace)), int64(grace/time.Second))
}

func (w *world) endPod(i int, end metav1.Time, seconds int64) {
	n := *w.pods[i]
	n.DeletionTimestamp, n.DeletionGracePeriodSeconds = &end, &seconds
	w.putPod(i, &n)
	w.enqueue(podKey(&n))
	w.enqueueOwner(&n)
}

// updateStatus takes only the status of an object that a planner has made; all else in it is as it was.
func (w *world) updateStatus(a reconcile.UpdateStatus) {
	switch o := a.Object.(type) {
	case *appsv1.Deployment:
		if d, i := find(w.deployments, o.Name); i >= 0 && d.UID == o.UID {
			o.TypeMeta, o.ObjectMeta, o.Spec = d.TypeMeta, d.ObjectMeta, d.Spec
			w.putDeployment(i, o)
			w.enqueue(key(reconcile.KindDeployment, o.Name))
		}
	case *appsv1.ReplicaSet:
		if s, i := find(w.sets, o.Name); i >= 0 && s.UID == o.UID {
			o.TypeMeta, o.ObjectMeta, o.Spec = s.TypeMeta, s.ObjectMeta, s.Spec
			w.putSet(i, o)
			w.enqueueDeployment(o)
		}
	case *corev1.Pod:
		if p, i := find(w.pods, o.Name); i >= 0 && p.UID == o.UID {
			o.TypeMeta, o.ObjectMeta, o.Spec = p.TypeMeta, p.ObjectMeta, p.Spec
			w.putPod(i, o)
			w.enqueueOwner(o)
			if len(o.Spec.Volumes) > 0 {
				w.podMattersTo(o)
			}
		}
	case reconcile.Object:
		w.updateObjectStatus(o)
	}
}

// pull takes a moment, and succeeds or not.
func (w *world) pull(a reconcile.PullImage) {
	state := w.images[a.Ref]
	if state.Pulling {
		return
	}
	w.checkPull(a)
	state.Pulling = true
	w.images[a.Ref] = state
	life := w.quirks
	w.later(time.Duration(50+w.rng.IntN(4000))*time.Millisecond, func() { w.pulled(a.Ref, life.pullsFail || kindOf(a.Ref) == imageMissing) })
}

func (w *world) pulled(ref string, failed bool) {
	state := w.images[ref]
	if !state.Pulling {
		return // of a controller that is no more
	}
	state.Pulling = false
	if failed {
		state.Failures++
		state.LastFailure, state.LastError = w.clock.wall, "registry says no"
	} else {
		img, err := w.fake.Pull(background, ref, runtime.PullOptions{})
		if err != nil {
			w.fail("cannot pull: %v", err)
		}
		w.arrived[ref] = w.clock.since
		state.Failures, state.LastError, state.PulledAt, state.Image = 0, "", w.clock.wall, &img
	}
	w.images[ref] = state
	w.say("pull of %s has ended, failed: %v", ref, failed)
	for _, p := range w.pods {
		if uses(p, ref) {
			w.enqueue(podKey(p))
		}
	}
}

func uses(p *corev1.Pod, ref string) bool {
	is := func(c corev1.Container) bool { return c.Image == ref }
	return slices.ContainsFunc(p.Spec.InitContainers, is) || slices.ContainsFunc(p.Spec.Containers, is)
}
