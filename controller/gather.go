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

// planner gathers what must be known of an object and asks its planner.
type planner struct {
	kind string
	plan func(*Controller, context.Context, store.Item) (reconcile.Plan, error)
}

// planners are the kinds that something is decided about, in the order in which a full look makes them due: what runs first.
func planners() []planner {
	return []planner{
		{reconcile.KindPod, (*Controller).planPod},
		{reconcile.KindReplicaSet, (*Controller).planReplicaSet},
		{reconcile.KindReplicationController, (*Controller).planReplicationController},
		{reconcile.KindStatefulSet, (*Controller).planStatefulSet},
		{reconcile.KindDaemonSet, (*Controller).planDaemonSet},
		{reconcile.KindDeployment, (*Controller).planDeployment},
		{reconcile.KindJob, (*Controller).planJob},
		{reconcile.KindCronJob, (*Controller).planCronJob},
		{reconcile.KindService, (*Controller).planService},
		{reconcile.KindEndpoints, (*Controller).planEndpoints},
		{reconcile.KindIngress, (*Controller).planIngress},
		{reconcile.KindPersistentVolumeClaim, (*Controller).planClaim},
		{reconcile.KindPersistentVolume, (*Controller).planVolume},
		{reconcile.KindPodDisruptionBudget, (*Controller).planDisruptionBudget},
		{reconcile.KindAutoscaler, (*Controller).planAutoscaler},
	}
}

// plan asks the planner of an object. What berth made and whose owner is gone ends first, whatever its kind.
func (c *Controller) plan(ctx context.Context, key reconcile.Key) (reconcile.Plan, error) {
	if key.Kind == reconcile.KindBarePod {
		return c.planBarePod(key), nil // also when the wish is gone
	}
	if key.Kind == kindCertificate {
		return c.planCertificate(key), nil
	}
	it, ok := c.store.Get(key)
	if !ok {
		return reconcile.Plan{}, nil
	}
	if it.Source == nil {
		if p := c.planGarbage(it.Object); len(p.Actions) > 0 {
			if now, _ := c.store.Get(key); now.Object == it.Object { // else its owner may have let it go before it went
				return p, nil // the change makes this key due again
			}
			return c.plan(ctx, key)
		}
		if key.Kind != reconcile.KindPod && c.lost.is(it.Object) {
			return reconcile.Plan{}, nil // its owner may come back
		}
	}
	if parents(key.Kind) {
		if c.kinship.leaves(it.Object.GetUID()) {
			return reconcile.Plan{}, nil
		}
		if p := c.planKin(it); len(p.Actions) > 0 {
			return p, nil
		}
	}
	if plan := c.planners[key.Kind]; plan != nil {
		return plan(c, ctx, it)
	}
	return reconcile.Plan{}, nil
}

func (c *Controller) planDeployment(_ context.Context, it store.Item) (reconcile.Plan, error) {
	d, ok := it.Object.(*appsv1.Deployment)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	return deployment.Plan(c.deploymentInput(d)), nil
}

func (c *Controller) planReplicaSet(_ context.Context, it store.Item) (reconcile.Plan, error) {
	rs, ok := it.Object.(*appsv1.ReplicaSet)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	return replicaset.Plan(replicaset.Input{
		ReplicaSet: rs, Pods: owned[*corev1.Pod](c.store, rs.UID), Nonce: c.opts.Nonce(), Now: c.opts.Clock.Now(),
	}), nil
}

// misfiled is the error for an object of another type than its key says.
func misfiled(it store.Item) error {
	return fmt.Errorf("cannot plan %s: it is a %T: %w", it.Key, it.Object, errTerminal)
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

func (c *Controller) planPod(ctx context.Context, it store.Item) (reconcile.Plan, error) {
	p, ok := it.Object.(*corev1.Pod)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	in, err := c.podInput(ctx, p)
	if err != nil {
		return reconcile.Plan{}, err
	}
	return pod.Plan(in), nil
}

func (c *Controller) podInput(ctx context.Context, p *corev1.Pod) (pod.Input, error) {
	in := pod.Input{Pod: p, Memory: c.memory.get(p.UID), Images: map[string]reconcile.ImageState{}, Node: c.opts.Node}
	in.Cordoned, in.Wanting = c.cordoned(), c.room.place(p)
	var err error
	if in.Observed, err = c.observed.get(ctx, string(p.UID)); err != nil {
		return in, fmt.Errorf("cannot look at pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	for _, ref := range imagesOf(&p.Spec) {
		if in.Images[ref], err = c.imageState(ctx, p, ref); err != nil {
			return in, fmt.Errorf("cannot look for image %q: %w", ref, err)
		}
	}
	in.Config = c.podConfig(reconcile.KeyOf(p), p)
	in.EnvFiles = c.envFiles(ctx, p, in.Observed)
	in.Claims = c.podClaims(p)
	in.Services = c.servicesOf(p.Namespace)
	c.examine(p, &in)
	in.Routed, in.Undirected = c.routes(p), !c.directed()
	in.Disk, in.Evicted = c.disks.of(p.UID), c.evictionOf(p.UID)
	in.Unjudged = c.unjudged(p, in.Observed)
	in.Now = c.opts.Clock.Now()
	return in, nil
}

// imagesOf are the images that a pod runs or mounts.
func imagesOf(spec *corev1.PodSpec) []string {
	var refs []string
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			refs = append(refs, list[i].Image)
		}
	}
	for i := range spec.EphemeralContainers {
		refs = append(refs, spec.EphemeralContainers[i].Image)
	}
	for i := range spec.Volumes {
		if v := spec.Volumes[i].Image; v != nil {
			refs = append(refs, v.Reference)
		}
	}
	return refs
}

// usedImages are the references that some pod states.
func (c *Controller) usedImages() map[string]bool {
	used := map[string]bool{}
	for _, it := range c.store.List(reconcile.KindPod) {
		if p, ok := it.Object.(*corev1.Pod); ok {
			for _, ref := range imagesOf(&p.Spec) {
				used[ref] = true
			}
		}
	}
	return used
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
func (c *Controller) planGarbage(obj reconcile.Object) reconcile.Plan {
	in := gc.Input{Live: map[types.UID]bool{}, Objects: []reconcile.Object{obj}}
	c.liveOwner(obj, in.Live)
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
