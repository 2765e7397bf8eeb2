package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"berth/controller/store"
	"berth/reconcile"
)

// SetEphemeral gives a running Pod the ephemeral containers of wish, which is the Pod of a resource version with some more of them. They are in what its
// sandbox carries before anybody starts one: the next controller finds them there. No file says them. A Pod that has changed meanwhile is left alone, and
// changed tells so.
func (c *Controller) SetEphemeral(ctx context.Context, wish *corev1.Pod) (changed bool, err error) {
	key := reconcile.KeyOf(wish)
	c.labelling.Lock()
	defer c.labelling.Unlock()
	now, ok := store.Get[*corev1.Pod](c.store, key)
	if !ok || now.ResourceVersion != wish.ResourceVersion {
		return true, nil
	}
	if o, err := c.observed.get(ctx, string(now.UID)); err != nil {
		return false, fmt.Errorf("cannot look at pod %s/%s: %w", now.Namespace, now.Name, err)
	} else if o != nil { // else they are written down when they are started
		labelled := *now
		labelled.Spec.EphemeralContainers = wish.Spec.EphemeralContainers
		if err := c.carry(ctx, &labelled); err != nil {
			return false, err
		}
	}
	return false, c.store.Update(key, func(it store.Item) (store.Item, error) {
		old, ok := it.Object.(*corev1.Pod)
		if !ok || old.UID != now.UID || apiequality.Semantic.DeepEqual(old.Spec.EphemeralContainers, wish.Spec.EphemeralContainers) {
			return it, nil
		}
		n := *old
		n.Spec.EphemeralContainers = wish.Spec.EphemeralContainers
		it.Object = &n
		return it, nil
	})
}

// carryEphemeral sees to it that an ephemeral container is known to the next controller before it is started: its Pod may have got it while the sandbox was
// being made.
func (c *Controller) carryEphemeral(ctx context.Context, a reconcile.StartContainer) error {
	p, ok := store.Get[*corev1.Pod](c.store, a.Pod)
	if !ok || p.UID != a.UID || !slices.ContainsFunc(p.Spec.EphemeralContainers, func(e corev1.EphemeralContainer) bool { return e.Name == a.Config.Name }) {
		return nil
	}
	c.labelling.Lock()
	defer c.labelling.Unlock()
	if p, ok = store.Get[*corev1.Pod](c.store, a.Pod); !ok || p.UID != a.UID {
		return nil
	}
	return c.carry(ctx, p)
}
