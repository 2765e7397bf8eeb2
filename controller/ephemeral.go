package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/pod"
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
	} else if o != nil { // else it is carried by the sandbox that is made later
		labelled := *now
		labelled.Spec.EphemeralContainers = wish.Spec.EphemeralContainers
		if err := c.opts.Pods.SetObject(ctx, string(now.UID), pod.Label(&labelled)); err != nil {
			return false, fmt.Errorf("cannot keep the ephemeral containers of pod %s/%s: %w", now.Namespace, now.Name, err)
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
