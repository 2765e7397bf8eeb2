package controller

import (
	"context"
	"maps"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/adoption"
)

// What an owner has made may outlive it: a client deletes the owner alone (propagationPolicy Orphan), or takes a pod out of its selector. Then it is
// nobody's. The journal keeps it, a Pod as well, and an owner whose selector matches adopts it.

// kinship guards who belongs to whom: nobody adopts what is being left, and nobody is left half.
type kinship struct {
	mu      sync.Mutex
	leaving map[types.UID]bool // owners that go alone, from then on to their end
}

func newKinship() *kinship { return &kinship{leaving: map[types.UID]bool{}} }

func (k *kinship) leaves(uid types.UID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leaving[uid]
}

// parents are the kinds whose dependents may live without them. What is made of a Service says nothing without it.
func parents(kind string) bool {
	switch kind {
	case reconcile.KindDeployment, reconcile.KindReplicaSet, reconcile.KindReplicationController, reconcile.KindStatefulSet, reconcile.KindDaemonSet,
		reconcile.KindJob, reconcile.KindCronJob:
		return true
	}
	return false
}

// leave ends an object and not what it has made. end removes it from the store; a pass over it that is under way may still make something, which goes
// as garbage.
func (c *Controller) leave(it store.Item, end func()) {
	if !parents(it.Key.Kind) {
		end()
		return
	}
	uid := it.Object.GetUID()
	c.kinship.mu.Lock()
	c.kinship.leaving[uid] = true
	for _, dependent := range c.store.OwnedBy(uid) {
		c.release(dependent.Key, dependent.Object.GetUID(), uid)
	}
	c.kinship.mu.Unlock()
	end()
	c.kinship.mu.Lock()
	delete(c.kinship.leaving, uid)
	c.kinship.mu.Unlock()
}

// release takes an object from an owner. It is in the journal before anybody sees it; what its sandbox carries does not count against that.
func (c *Controller) release(key reconcile.Key, uid, owner types.UID) {
	err := c.store.Update(key, func(it store.Item) (store.Item, error) {
		kept := slices.DeleteFunc(slices.Clone(it.Object.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return r.UID == owner })
		if it.Object.GetUID() != uid || len(kept) == len(it.Object.GetOwnerReferences()) {
			return it, nil
		}
		if len(kept) == 0 {
			kept = nil
		}
		it.Object = shallow(it.Object)
		it.Object.SetOwnerReferences(kept)
		return it, nil
	})
	if ignoreGone(err) != nil {
		c.opts.Log.Error(err, "cannot release an object", "key", key.String())
	}
}

func (c *Controller) releaseObject(a reconcile.ReleaseObject) (again bool) {
	c.release(a.Key, a.UID, a.Owner)
	return true
}

// adoptObject gives an orphan to an owner, unless one of them has gone or changed meanwhile: then the owner's planner looks again. A Pod's sandbox carries
// its new owner before the journal forgets the Pod.
func (c *Controller) adoptObject(ctx context.Context, a reconcile.AdoptObject) (again bool, err error) {
	c.kinship.mu.Lock()
	defer c.kinship.mu.Unlock()
	c.labelling.Lock()
	defer c.labelling.Unlock()
	it, ok := c.store.Get(a.Key)
	if _, there := c.store.ByUID(a.Owner.UID); !ok || !there || c.kinship.leaving[a.Owner.UID] || !adoptable(it, a.UID) {
		return true, nil
	}
	owned := shallow(it.Object)
	owned.SetOwnerReferences(append(slices.Clone(it.Object.GetOwnerReferences()), a.Owner))
	if p, ok := owned.(*corev1.Pod); ok {
		if o, err := c.observed.get(ctx, string(p.UID)); err != nil {
			return false, err
		} else if o != nil {
			if err := c.carry(ctx, p); err != nil {
				return false, err
			}
		}
	}
	return true, ignoreGone(c.store.Update(a.Key, func(now store.Item) (store.Item, error) {
		if !adoptable(now, a.UID) {
			return now, nil
		}
		now.Object = shallow(now.Object)
		now.Object.SetOwnerReferences(owned.GetOwnerReferences())
		return now, nil
	}))
}

func adoptable(it store.Item, uid types.UID) bool {
	return it.Object.GetUID() == uid && store.Orphan(it) && it.Object.GetDeletionTimestamp() == nil
}

// planKin adopts for an owner, and lets go what it does not select any more.
func (c *Controller) planKin(it store.Item) reconcile.Plan {
	in := adoption.Input{Owner: it.Object}
	var kinds []string
	switch o := it.Object.(type) {
	case *appsv1.Deployment:
		in.Kind, in.Selector, kinds = appsv1.SchemeGroupVersion.WithKind(it.Key.Kind), o.Spec.Selector, []string{reconcile.KindReplicaSet}
	case *appsv1.ReplicaSet:
		in.Kind, in.Selector, kinds = appsv1.SchemeGroupVersion.WithKind(it.Key.Kind), o.Spec.Selector, []string{reconcile.KindPod}
	case *appsv1.StatefulSet:
		in.Kind, in.Selector, in.Numbered = appsv1.SchemeGroupVersion.WithKind(it.Key.Kind), o.Spec.Selector, true
		kinds = []string{reconcile.KindPod, reconcile.KindControllerRevision}
	case *appsv1.DaemonSet:
		in.Kind, in.Selector = appsv1.SchemeGroupVersion.WithKind(it.Key.Kind), o.Spec.Selector
		kinds = []string{reconcile.KindPod, reconcile.KindControllerRevision}
	case *corev1.ReplicationController:
		in.Kind, in.Selector = corev1.SchemeGroupVersion.WithKind(it.Key.Kind), &metav1.LabelSelector{MatchLabels: o.Spec.Selector}
		kinds = []string{reconcile.KindPod}
	case *batchv1.Job: // the selector that Kubernetes makes is of its UID: it never selects what another Job has left
		in.Kind, in.Selector, kinds = batchv1.SchemeGroupVersion.WithKind(it.Key.Kind), o.Spec.Selector, []string{reconcile.KindPod}
	default:
		return reconcile.Plan{}
	}
	in.Owned, in.Orphans = c.dependents(it.Object.GetUID(), kinds), c.dependents("", kinds)
	return adoption.Plan(in)
}

func (c *Controller) dependents(of types.UID, kinds []string) []reconcile.Object {
	var out []reconcile.Object
	c.store.EachOwned(of, func(it store.Item) {
		if slices.Contains(kinds, it.Key.Kind) {
			out = append(out, it.Object)
		}
	})
	return out
}

// kinChanged makes due who may adopt an orphan, and who has lost one.
func (c *Controller) kinChanged(ch store.Change) {
	if ch.New == nil || !store.Orphan(store.Item{Key: ch.Key, Object: ch.New}) {
		return
	}
	if it, ok := c.store.Get(ch.Key); !ok || it.Source != nil {
		return
	}
	if ch.Old != nil {
		owner := metav1.GetControllerOfNoCopy(ch.Old)
		if owner == nil && maps.Equal(ch.Old.GetLabels(), ch.New.GetLabels()) {
			return
		}
		if owner != nil {
			c.queue.Add(reconcile.Key{Kind: owner.Kind, Namespace: ch.Key.Namespace, Name: owner.Name})
		}
	}
	for _, p := range planners() {
		if !parents(p.kind) {
			continue
		}
		for _, it := range c.store.List(p.kind) {
			if it.Key.Namespace == ch.Key.Namespace {
				c.queue.Add(it.Key)
			}
		}
	}
}
