package controller

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/barepod"
	"berth/reconcile/deployment"
	"berth/reconcile/gc"
	"berth/reconcile/pod"
	"berth/reconcile/replicaset"
)

// plan gathers what a planner must know of an object, and asks it.
func (c *Controller) plan(ctx context.Context, key reconcile.Key) (reconcile.Plan, error) {
	switch key.Kind {
	case reconcile.KindDeployment:
		return c.planDeployment(key), nil
	case reconcile.KindReplicaSet:
		return c.planReplicaSet(key), nil
	case reconcile.KindBarePod:
		return c.planBarePod(key), nil
	case reconcile.KindPod:
		return c.planPod(ctx, key)
	default:
		return reconcile.Plan{}, fmt.Errorf("cannot plan %s: no planner knows its kind: %w", key, errTerminal)
	}
}

func (c *Controller) planDeployment(key reconcile.Key) reconcile.Plan {
	d, ok := store.Get[*appsv1.Deployment](c.store, key)
	if !ok {
		return reconcile.Plan{}
	}
	return deployment.Plan(deployment.Input{Deployment: d, ReplicaSets: owned[*appsv1.ReplicaSet](c.store, d.UID), Now: c.opts.Clock.Now()})
}

func (c *Controller) planReplicaSet(key reconcile.Key) reconcile.Plan {
	rs, ok := store.Get[*appsv1.ReplicaSet](c.store, key)
	if !ok {
		return reconcile.Plan{}
	}
	if p := c.planGarbage(rs, nil); len(p.Actions) > 0 {
		return p
	}
	if c.lost.is(rs) {
		return reconcile.Plan{} // its owner may come back
	}
	return replicaset.Plan(replicaset.Input{
		ReplicaSet: rs, Pods: owned[*corev1.Pod](c.store, rs.UID), Nonce: c.opts.Nonce(), Now: c.opts.Clock.Now(),
	})
}

func (c *Controller) planBarePod(key reconcile.Key) reconcile.Plan {
	in := barepod.Input{Now: c.opts.Clock.Now()}
	if wish, ok := store.Get[*corev1.Pod](c.store, key); ok {
		in.Wish = wish
	}
	if p, ok := store.Get[*corev1.Pod](c.store, reconcile.Key{Kind: reconcile.KindPod, Namespace: key.Namespace, Name: key.Name}); ok {
		if metav1.GetControllerOfNoCopy(p) != nil {
			return reconcile.Plan{} // the name is taken; its end makes this key due again
		}
		in.Pods = []*corev1.Pod{p}
	}
	return barepod.Plan(in)
}

func (c *Controller) planPod(ctx context.Context, key reconcile.Key) (reconcile.Plan, error) {
	p, ok := store.Get[*corev1.Pod](c.store, key)
	if !ok {
		return reconcile.Plan{}, nil
	}
	if g := c.planGarbage(nil, p); len(g.Actions) > 0 {
		return g, nil // the change of the Pod makes this key due again
	}
	in, err := c.podInput(ctx, p)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return pod.Plan(in), nil
}

func (c *Controller) podInput(ctx context.Context, p *corev1.Pod) (pod.Input, error) {
	in := pod.Input{Pod: p, Memory: c.memory.get(p.UID), Images: map[string]reconcile.ImageState{}, Node: c.opts.Node}
	var err error
	if in.Observed, err = c.observed.get(ctx, string(p.UID)); err != nil {
		return in, fmt.Errorf("cannot look at pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			ref := list[i].Image
			if in.Images[ref], err = c.imageState(ctx, p, ref); err != nil {
				return in, fmt.Errorf("cannot look for image %q: %w", ref, err)
			}
		}
	}
	in.Now = c.opts.Clock.Now()
	return in, nil
}

// imageState is what is known of an image of a pod. To one that is going an image says only how to be stopped: what cannot be known then
// must not keep it from ending.
func (c *Controller) imageState(ctx context.Context, p *corev1.Pod, ref string) (reconcile.ImageState, error) {
	if p.DeletionTimestamp == nil {
		return c.images.state(ctx, ref, reconcile.Key{Kind: reconcile.KindPod, Namespace: p.Namespace, Name: p.Name})
	}
	state, err := c.images.peek(ctx, ref)
	if err != nil {
		logr.FromContextOrDiscard(ctx).V(1).Info("stopping without knowing the image's own signal", "pod", p.Name, "image", ref, "reason", err.Error())
	}
	return state, nil
}

// planGarbage ends an object whose owner is gone. It asks for one object at a time: each removal makes what it owned due.
func (c *Controller) planGarbage(rs *appsv1.ReplicaSet, p *corev1.Pod) reconcile.Plan {
	in := gc.Input{Live: map[types.UID]bool{}}
	if rs != nil {
		in.ReplicaSets = []*appsv1.ReplicaSet{rs}
		c.liveOwner(rs, in.Live)
	}
	if p != nil {
		in.Pods = []*corev1.Pod{p}
		c.liveOwner(p, in.Live)
	}
	return gc.Plan(in)
}

// liveOwner notes the controller of an object if it exists, or if it may still come back.
func (c *Controller) liveOwner(obj metav1.Object, live map[types.UID]bool) {
	owner := metav1.GetControllerOfNoCopy(obj)
	if owner == nil {
		return
	}
	if c.lost.has(owner.UID) { // asked first: what is found is in the store already
		live[owner.UID] = true
		return
	}
	if _, ok := c.store.ByUID(owner.UID); ok {
		live[owner.UID] = true
	}
}

func owned[T store.Object](s *store.Store, uid types.UID) []T {
	items := s.OwnedBy(uid)
	out := make([]T, 0, len(items))
	for _, it := range items {
		if o, ok := it.Object.(T); ok {
			out = append(out, o)
		}
	}
	return out
}
