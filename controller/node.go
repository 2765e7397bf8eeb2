package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// ShowNode makes the Node object say how this machine is at this moment. Without Options.NodeStatus there is none.
func (c *Controller) ShowNode(ctx context.Context) error {
	if c.opts.NodeStatus == nil {
		return nil
	}
	key := c.nodeKey()
	status := c.opts.NodeStatus(ctx)
	fresh := &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindNode},
		ObjectMeta: metav1.ObjectMeta{Name: c.opts.Node.Name, Labels: map[string]string{
			corev1.LabelHostname: c.opts.Node.Name, corev1.LabelOSStable: status.NodeInfo.OperatingSystem, corev1.LabelArchStable: status.NodeInfo.Architecture,
		}},
		Status: status,
	}
	if _, ok := c.store.Get(key); !ok {
		return ignoreTaken(c.store.Create(key, fresh, nil))
	}
	return ignoreGone(c.store.Update(key, func(it store.Item) (store.Item, error) {
		old, ok := it.Object.(*corev1.Node)
		if !ok {
			return it, nil
		}
		n := *old
		n.Status = status
		for i := range n.Status.Conditions {
			since(&n.Status.Conditions[i], old.Status.Conditions)
		}
		if !apiequality.Semantic.DeepEqual(&n, old) {
			it.Object = &n
		}
		return it, nil
	}))
}

// since keeps when a condition came to be what it is.
func since(now *corev1.NodeCondition, before []corev1.NodeCondition) {
	for i := range before {
		if before[i].Type == now.Type && before[i].Status == now.Status {
			now.LastTransitionTime = before[i].LastTransitionTime
		}
	}
}

// nodeKey names the machine.
func (c *Controller) nodeKey() reconcile.Key {
	return reconcile.Key{Kind: reconcile.KindNode, Name: c.opts.Node.Name}
}

// cordoned tells whether somebody has told the machine to take no new pods (kubectl cordon). It is kept like any object, over restarts and reboots.
func (c *Controller) cordoned() bool {
	n, ok := store.Get[*corev1.Node](c.store, c.nodeKey())
	return ok && n.Spec.Unschedulable
}

// nodeChanged makes pods due that wait for the machine to take them.
func (c *Controller) nodeChanged(ch store.Change) {
	old, _ := ch.Old.(*corev1.Node)
	n, ok := ch.New.(*corev1.Node)
	if !ok || old == nil || old.Spec.Unschedulable == n.Spec.Unschedulable {
		return
	}
	for _, it := range c.store.List(reconcile.KindPod) {
		c.queue.Add(it.Key)
	}
}
