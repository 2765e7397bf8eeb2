package controller

import (
	"context"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/daemonset"
	"berth/reconcile/replicationcontroller"
	"berth/reconcile/request"
	"berth/reconcile/statefulset"
)

func (c *Controller) planReplicationController(_ context.Context, it store.Item) (reconcile.Plan, error) {
	rc, ok := it.Object.(*corev1.ReplicationController)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	return replicationcontroller.Plan(replicationcontroller.Input{
		ReplicationController: rc, Pods: owned[*corev1.Pod](c.store, rc.UID), Nonce: c.opts.Nonce(), Now: c.opts.Clock.Now(),
	}), nil
}

func (c *Controller) planDaemonSet(_ context.Context, it store.Item) (reconcile.Plan, error) {
	stored, ok := it.Object.(*appsv1.DaemonSet)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	d := *stored
	d.Spec.Template = request.Template(&stored.Spec.Template, stored.Annotations[request.AnnotationRestartedAt])
	return daemonset.Plan(daemonset.Input{
		DaemonSet: &d, Pods: owned[*corev1.Pod](c.store, d.UID), Revisions: owned[*appsv1.ControllerRevision](c.store, d.UID),
		Config: c.templateConfig(it.Key, stored, &d.Spec.Template.Spec), Node: c.opts.Node.Name, Nonce: c.opts.Nonce(), Now: c.opts.Clock.Now(),
	}), nil
}

func (c *Controller) planStatefulSet(_ context.Context, it store.Item) (reconcile.Plan, error) {
	stored, ok := it.Object.(*appsv1.StatefulSet)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	s := *stored
	s.Spec.Template = request.Template(&stored.Spec.Template, stored.Annotations[request.AnnotationRestartedAt])
	in := statefulset.Input{
		StatefulSet: &s, Pods: owned[*corev1.Pod](c.store, s.UID), Revisions: owned[*appsv1.ControllerRevision](c.store, s.UID),
		Config: c.templateConfig(it.Key, stored, &s.Spec.Template.Spec), Stated: map[string]bool{},
	}
	for _, name := range statefulset.ClaimNames(&s, in.Pods) {
		item, _ := c.store.Get(claimKey(s.Namespace, name))
		if claim, ok := item.Object.(*corev1.PersistentVolumeClaim); ok {
			in.Claims = append(in.Claims, claim)
			in.Stated[name] = item.Source != nil
		}
	}
	in.Now = c.opts.Clock.Now()
	return statefulset.Plan(in), nil
}

// setsChanged makes due the StatefulSets that wait for a name to be free: that of a claim which goes, or of a pod that is somebody else's.
func (c *Controller) setsChanged(ch store.Change) {
	if !ch.Deleted {
		return
	}
	switch ch.Key.Kind {
	case reconcile.KindPersistentVolumeClaim:
		for _, it := range c.store.List(reconcile.KindStatefulSet) {
			if it.Key.Namespace == ch.Key.Namespace {
				c.queue.Add(it.Key)
			}
		}
	case reconcile.KindPod:
		end := strings.LastIndexByte(ch.Key.Name, '-')
		key := reconcile.Key{Kind: reconcile.KindStatefulSet, Namespace: ch.Key.Namespace, Name: ch.Key.Name[:max(0, end)]}
		if _, ok := c.store.Get(key); ok && key != ch.Owner {
			c.queue.Add(key)
		}
	}
}

// immutableOfSet names the field of a set that differs and must not, as a Kubernetes API server would.
func immutableOfSet(old, n store.Object) string {
	switch o := old.(type) {
	case *appsv1.DaemonSet:
		if d, ok := n.(*appsv1.DaemonSet); ok && !apiequality.Semantic.DeepEqual(o.Spec.Selector, d.Spec.Selector) {
			return "spec.selector"
		}
	case *appsv1.StatefulSet:
		if s, ok := n.(*appsv1.StatefulSet); ok {
			return immutableOfStatefulSet(&o.Spec, &s.Spec)
		}
	}
	return ""
}

func immutableOfStatefulSet(old, n *appsv1.StatefulSetSpec) string {
	same := apiequality.Semantic.DeepEqual
	switch {
	case !same(old.Selector, n.Selector):
		return "spec.selector"
	case old.ServiceName != n.ServiceName:
		return "spec.serviceName"
	case old.PodManagementPolicy != n.PodManagementPolicy:
		return "spec.podManagementPolicy"
	case !same(old.VolumeClaimTemplates, n.VolumeClaimTemplates):
		return "spec.volumeClaimTemplates"
	}
	return ""
}

// setRow tells of a set's pods, those that are ending among them.
func setRow(w *Workload, obj store.Object, pods []*corev1.Pod, ending int) {
	switch o := obj.(type) {
	case *corev1.ReplicationController:
		s := &o.Status
		w.Desired, w.Current, w.Ready, w.Available, w.Updated = wish(o.Spec.Replicas), s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.Replicas
		w.Done = s.ObservedGeneration >= o.Generation && w.Current == w.Desired && w.Available == w.Desired && ending == 0
	case *appsv1.DaemonSet:
		s := &o.Status
		w.Desired, w.Current, w.Ready = s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberReady
		w.Available, w.Updated = s.NumberAvailable, s.UpdatedNumberScheduled
		rolled := o.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType || w.Updated == w.Desired
		w.Done = s.ObservedGeneration >= o.Generation && w.Available == w.Desired && rolled && len(pods) == int(w.Desired) && ending == 0
	case *appsv1.StatefulSet:
		s := &o.Status
		w.Desired, w.Current, w.Ready, w.Available, w.Updated = wish(o.Spec.Replicas), s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.UpdatedReplicas
		w.Done = s.ObservedGeneration >= o.Generation && w.Current == w.Desired && w.Available == w.Desired && w.Updated >= rolled(o) && ending == 0
		if !w.Done {
			w.Problem = waitsInVain(o, pods)
		}
	}
}

// rolled is how many pods of a StatefulSet are of the new revision when its rollout has come as far as it shall.
func rolled(s *appsv1.StatefulSet) int32 {
	n := wish(s.Spec.Replicas)
	if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return 0
	}
	if u := s.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		return max(0, n-*u.Partition)
	}
	return n
}

// waitsInVain tells how to help a StatefulSet that waits in order for a broken pod which its new template would mend: as in Kubernetes, it does not
// replace it by itself.
func waitsInVain(s *appsv1.StatefulSet, pods []*corev1.Pod) string {
	if s.Spec.PodManagementPolicy == appsv1.ParallelPodManagement || s.Status.UpdateRevision == "" {
		return ""
	}
	for _, p := range pods {
		old := p.Labels[appsv1.ControllerRevisionHashLabelKey] != s.Status.UpdateRevision
		if why := problem([]*corev1.Pod{p}); old && why != "" {
			return why + "; it is of an old revision, and a StatefulSet waits for its pods in order: take it out of its file until it is gone and put it back, " +
				"its claims are kept"
		}
	}
	return ""
}
