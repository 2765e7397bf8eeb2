package controller

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/disruption"
)

func (c *Controller) planDisruptionBudget(_ context.Context, it store.Item) (reconcile.Plan, error) {
	b, ok := it.Object.(*policyv1.PodDisruptionBudget)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	return disruption.Plan(c.budgetInput(b)), nil
}

func (c *Controller) budgetInput(b *policyv1.PodDisruptionBudget) disruption.Input {
	in := disruption.Input{Budget: b, Workloads: map[types.UID]disruption.Workload{}, Now: c.opts.Clock.Now()}
	for _, it := range c.store.List(reconcile.KindPod) {
		p, ok := it.Object.(*corev1.Pod)
		if !ok || p.Namespace != b.Namespace || !disruption.Covers(b, p) {
			continue
		}
		in.Pods = append(in.Pods, p)
		if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
			if w, ok := c.scaled(owner.UID); ok {
				in.Workloads[owner.UID] = w
			}
		}
	}
	return in
}

// scaled is the workload that decides how many pods an owner shall have: the Deployment of a ReplicaSet.
func (c *Controller) scaled(uid types.UID) (disruption.Workload, bool) {
	key, _ := c.store.ByUID(uid)
	it, ok := c.store.Get(key)
	if !ok {
		return disruption.Workload{}, false
	}
	if owner := metav1.GetControllerOfNoCopy(it.Object); owner != nil {
		if w, ok := c.scaled(owner.UID); ok {
			return w, true
		}
	}
	switch o := it.Object.(type) {
	case *appsv1.Deployment:
		return disruption.Workload{UID: uid, Scale: wish(o.Spec.Replicas)}, true
	case *appsv1.ReplicaSet:
		return disruption.Workload{UID: uid, Scale: wish(o.Spec.Replicas)}, true
	case *appsv1.StatefulSet:
		return disruption.Workload{UID: uid, Scale: wish(o.Spec.Replicas)}, true
	case *corev1.ReplicationController:
		return disruption.Workload{UID: uid, Scale: wish(o.Spec.Replicas)}, true
	}
	return disruption.Workload{}, false
}

// disruptionChanged makes due the budgets that a change may concern: those of the namespace in which a pod or a workload has changed.
func (c *Controller) disruptionChanged(ch store.Change) {
	switch ch.Key.Kind {
	case reconcile.KindPod, reconcile.KindDeployment, reconcile.KindReplicaSet, reconcile.KindStatefulSet, reconcile.KindReplicationController:
	default:
		return
	}
	if c.store.Len(reconcile.KindPodDisruptionBudget) == 0 {
		return
	}
	for _, it := range c.store.List(reconcile.KindPodDisruptionBudget) {
		if it.Key.Namespace == ch.Key.Namespace {
			c.queue.AddAfter(it.Key, ownerPause)
		}
	}
}

// Evict ends a pod if the budgets allow it, which they are asked one pod at a time: end begins the end, and the next one asked about sees it. It
// returns a *disruption.Refusal when a budget does not allow it, and what end returns. With dry the pod is not marked.
func (c *Controller) Evict(key reconcile.Key, dry bool, end func() error) error {
	c.evicting.Lock()
	defer c.evicting.Unlock()
	p, ok := store.Get[*corev1.Pod](c.store, key)
	if !ok {
		return end()
	}
	var budgets []disruption.Input
	for _, it := range c.store.List(reconcile.KindPodDisruptionBudget) {
		if b, ok := it.Object.(*policyv1.PodDisruptionBudget); ok && disruption.Covers(b, p) {
			budgets = append(budgets, c.budgetInput(b))
		}
	}
	if refusal := disruption.Refuse(p, budgets); refusal != nil {
		return refusal
	}
	if err := end(); err != nil || dry {
		return err
	}
	return ignoreGone(c.store.Update(key, func(it store.Item) (store.Item, error) {
		now, ok := it.Object.(*corev1.Pod)
		if !ok || now.UID != p.UID {
			return it, nil
		}
		n := *now
		n.Status.Conditions = evicted(now.Status.Conditions, metav1.NewTime(c.opts.Clock.Now()))
		if !apiequality.Semantic.DeepEqual(n.Status.Conditions, now.Status.Conditions) {
			it.Object = &n
		}
		return it, nil
	}))
}

// evicted is a list of conditions with the one that tells why a pod ends.
func evicted(had []corev1.PodCondition, now metav1.Time) []corev1.PodCondition {
	var list []corev1.PodCondition
	for _, cond := range had {
		if cond.Type == corev1.DisruptionTarget {
			return had
		}
		list = append(list, cond)
	}
	return append(list, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting", LastTransitionTime: now,
	})
}
