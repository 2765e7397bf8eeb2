package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/hpa"
	"berth/reconcile/request"
	"berth/runtime"
)

// keyScales names the work of giving workloads that nothing scales any more back to their files.
var keyScales = reconcile.Key{Kind: "Scales"}

// scalable are the kinds with a number of replicas.
func scalable() []string {
	return []string{reconcile.KindDeployment, reconcile.KindStatefulSet, reconcile.KindReplicaSet, reconcile.KindReplicationController}
}

// isScalable tells whether a reference names a kind with a number of replicas, in its group. The version is any: a kind has one here.
func isScalable(ref autoscalingv2.CrossVersionObjectReference) bool {
	group := appsv1.GroupName
	if ref.Kind == reconcile.KindReplicationController {
		group = corev1.GroupName
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && gv.Group == group && slices.Contains(scalable(), ref.Kind)
}

// scalers is what autoscalers remember between two decisions, by UID. It does not outlive the controller, as in Kubernetes.
type scalers struct {
	mu      sync.Mutex
	memory  map[types.UID]hpa.Memory
	samples map[types.UID]map[types.UID]measured // by autoscaler and pod
}

// measured is what the containers of a pod had used until a moment.
type measured struct {
	at    time.Time
	usage map[string]runtime.Usage
}

func newScalers() *scalers {
	return &scalers{memory: map[types.UID]hpa.Memory{}, samples: map[types.UID]map[types.UID]measured{}}
}

func (s *scalers) get(uid types.UID) (hpa.Memory, map[types.UID]measured) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory[uid], s.samples[uid]
}

func (s *scalers) set(uid types.UID, m hpa.Memory, samples map[types.UID]measured) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory[uid], s.samples[uid] = m, samples
}

func (s *scalers) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.memory, uid)
	delete(s.samples, uid)
}

func (c *Controller) planAutoscaler(ctx context.Context, it store.Item) (reconcile.Plan, error) {
	a, err := autoscalerOf(it.Object)
	if err != nil {
		return reconcile.Plan{}, err
	}
	in := hpa.Input{Autoscaler: a, Now: c.opts.Clock.Now()}
	memory, before := c.scalers.get(a.UID)
	in.Memory = memory
	target, selector := c.scaleTarget(a)
	in.Target = target
	if target != nil && hpa.Wait(a, target.Replicas, in.Memory, in.Now) > 0 {
		plan, _ := hpa.Plan(in)
		return plan, nil
	}
	after := map[types.UID]measured{}
	if target != nil {
		in.Pods = c.podsSelected(a.Namespace, selector)
		in.Rivals = c.rivals(a, in.Pods)
		in.Usage, after = c.usage(ctx, in.Pods, before)
	}
	plan, memory := hpa.Plan(in)
	c.scalers.set(a.UID, memory, after)
	return plan, nil
}

// autoscalerOf is an autoscaler in the version that decisions are made of.
func autoscalerOf(obj kruntime.Object) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	if a, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler); ok {
		return a, nil
	}
	scheme := manifests.Scheme()
	internal, err := scheme.ConvertToVersion(obj, schema.GroupVersion{Group: autoscalingv2.GroupName, Version: kruntime.APIVersionInternal})
	if err == nil {
		obj, err = scheme.ConvertToVersion(internal, autoscalingv2.SchemeGroupVersion)
	}
	a, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler)
	if err != nil || !ok {
		return nil, fmt.Errorf("cannot read a %T as an autoscaler: %w", obj, errTerminal)
	}
	scheme.Default(a)
	return a, nil
}

// modern is an object as it is kept: an autoscaler in the version that can say all.
func modern(obj store.Object) store.Object {
	if _, old := obj.(*autoscalingv1.HorizontalPodAutoscaler); old {
		if a, err := autoscalerOf(obj); err == nil {
			return a
		}
	}
	return obj
}

// scaleTarget is what an autoscaler scales, and the selector of its pods; nil when it is not there.
func (c *Controller) scaleTarget(a *autoscalingv2.HorizontalPodAutoscaler) (*hpa.Target, labels.Selector) {
	ref := a.Spec.ScaleTargetRef
	if !isScalable(ref) {
		return nil, nil
	}
	key := reconcile.Key{Kind: ref.Kind, Namespace: a.Namespace, Name: ref.Name}
	it, ok := c.store.Get(key)
	if !ok || it.Object.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	selector := selectorOf(it.Object)
	if selector == nil {
		return nil, nil
	}
	return &hpa.Target{Key: key, UID: it.Object.GetUID(), Replicas: wish(*request.Replicas(it.Object))}, selector
}

func (c *Controller) podsSelected(namespace string, selector labels.Selector) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, it := range c.store.List(reconcile.KindPod) {
		if p, ok := it.Object.(*corev1.Pod); ok && p.Namespace == namespace && selector.Matches(labels.Set(p.Labels)) {
			pods = append(pods, p)
		}
	}
	return pods
}

// rivals names other autoscalers whose target has any of the pods.
func (c *Controller) rivals(a *autoscalingv2.HorizontalPodAutoscaler, pods []*corev1.Pod) []string {
	var names []string
	for _, it := range c.store.List(reconcile.KindAutoscaler) {
		if it.Key.Namespace != a.Namespace || it.Key.Name == a.Name {
			continue
		}
		other, err := autoscalerOf(it.Object)
		if err != nil {
			continue
		}
		_, selector := c.scaleTarget(other)
		if selector != nil && slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return selector.Matches(labels.Set(p.Labels)) }) {
			names = append(names, it.Key.Name)
		}
	}
	return names
}

// usage measures pods. Of processors a pod says something from the second time on.
func (c *Controller) usage(ctx context.Context, pods []*corev1.Pod, before map[types.UID]measured) (map[types.UID]hpa.Usage, map[types.UID]measured) {
	used, after := map[types.UID]hpa.Usage{}, map[types.UID]measured{}
	if c.opts.Meter == nil {
		return used, after
	}
	for _, p := range pods {
		if p.Status.Phase != corev1.PodRunning {
			continue
		}
		now := measured{at: c.opts.Clock.Now()}
		var err error
		if now.usage, err = c.opts.Meter.Usage(ctx, string(p.UID)); err != nil || len(now.usage) == 0 {
			continue // it ends
		}
		after[p.UID] = now
		if u, ok := between(before[p.UID], now); ok {
			used[p.UID] = u
		}
	}
	return used, after
}

// leastWindow is what a measurement takes at least: the counters tick in hundredths of a second on some machines.
const leastWindow = time.Second

// between is what was used between two measurements, of which the later one has nothing that the earlier has not.
func between(then, now measured) (hpa.Usage, bool) {
	u := hpa.Usage{At: now.at, Window: now.at.Sub(then.at), Containers: map[string]corev1.ResourceList{}}
	if len(then.usage) == 0 || u.Window < leastWindow {
		return u, false
	}
	for name, n := range now.usage {
		was, ok := then.usage[name]
		if !ok || n.CPU < was.CPU { // it was started anew
			return u, false
		}
		u.Containers[name] = corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(float64(n.CPU-was.CPU)/float64(u.Window)*1e9), resource.Nano),
			corev1.ResourceMemory: *resource.NewQuantity(n.Memory, resource.BinarySI),
		}
	}
	return u, true
}

// scale gives a workload the size that an autoscaler wants, or that its file states. The file stays as it is.
func (c *Controller) scale(a reconcile.Scale) error {
	return ignoreGone(c.store.Update(a.Key, func(it store.Item) (store.Item, error) {
		field := request.Replicas(it.Object)
		if field == nil || it.Object.GetUID() != a.UID {
			return it, nil
		}
		s, scaled := request.ReadScale(it.Object.GetAnnotations())
		n := shallow(it.Object)
		switch {
		case a.Replicas != nil:
			if !scaled {
				s.File = *field
			}
			s.By, s.Replicas = a.By, *a.Replicas
			*request.Replicas(n) = a.Replicas
			n.SetAnnotations(request.With(n.GetAnnotations(), request.AnnotationScale, s.String()))
		case scaled && s.By == a.By:
			*request.Replicas(n) = s.File
			n.SetAnnotations(request.With(n.GetAnnotations(), request.AnnotationScale, ""))
		default:
			return it, nil
		}
		it.Object = n
		return it, nil
	}))
}

// scaledAs is a workload, as its file states it, as large as an autoscaler has made the one that is there.
func scaledAs(obj, old store.Object) store.Object {
	s, scaled := request.ReadScale(old.GetAnnotations())
	if field := request.Replicas(obj); !scaled || field == nil || *field != nil && **field == 0 {
		return obj
	}
	n := shallow(obj)
	*request.Replicas(n) = &s.Replicas
	return n
}

// releaseScales gives back to their files the workloads whose autoscaler is gone, or has another target now.
func (c *Controller) releaseScales() error {
	for _, kind := range scalable() {
		for _, it := range c.store.List(kind) {
			s, scaled := request.ReadScale(it.Object.GetAnnotations())
			if !scaled || c.scales(s.By, it.Key) {
				continue
			}
			if err := c.scale(reconcile.Scale{Key: it.Key, UID: it.Object.GetUID(), By: s.By}); err != nil {
				return err
			}
		}
	}
	return nil
}

// scales tells whether there is an autoscaler of a name for a workload.
func (c *Controller) scales(name string, target reconcile.Key) bool {
	it, ok := c.store.Get(reconcile.Key{Kind: reconcile.KindAutoscaler, Namespace: target.Namespace, Name: name})
	if !ok || it.Object.GetDeletionTimestamp() != nil {
		return false
	}
	a, err := autoscalerOf(it.Object)
	return err == nil && isScalable(a.Spec.ScaleTargetRef) && a.Spec.ScaleTargetRef.Kind == target.Kind && a.Spec.ScaleTargetRef.Name == target.Name
}

// scalesChanged makes due what a change may concern: autoscalers of a workload that comes or changes its size, and workloads of an autoscaler that changes.
func (c *Controller) scalesChanged(ch store.Change) {
	if ch.Key.Kind == reconcile.KindAutoscaler {
		if ch.Deleted {
			c.scalers.forget(ch.UID)
		}
		c.queue.Add(keyScales)
		return
	}
	if c.store.Len(reconcile.KindAutoscaler) == 0 || !slices.Contains(scalable(), ch.Key.Kind) || metav1.GetControllerOfNoCopy(orOld(ch)) != nil {
		return
	}
	for _, it := range c.store.List(reconcile.KindAutoscaler) {
		if it.Key.Namespace == ch.Key.Namespace {
			c.queue.Add(it.Key)
		}
	}
}

// orOld is the object that a change is about.
func orOld(ch store.Change) store.Object {
	if ch.New != nil {
		return ch.New
	}
	return ch.Old
}

// selectorOf is the selector of a workload's pods, nil for what has none.
func selectorOf(obj store.Object) labels.Selector {
	var stated *metav1.LabelSelector
	switch o := obj.(type) {
	case *appsv1.Deployment:
		stated = o.Spec.Selector
	case *appsv1.ReplicaSet:
		stated = o.Spec.Selector
	case *appsv1.StatefulSet:
		stated = o.Spec.Selector
	case *corev1.ReplicationController:
		stated = &metav1.LabelSelector{MatchLabels: o.Spec.Selector}
	}
	s, err := metav1.LabelSelectorAsSelector(stated)
	if err != nil || s.Empty() {
		return nil
	}
	return s
}
