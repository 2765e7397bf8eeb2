package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/pod"
)

// Carry makes the sandbox of a Pod carry it as the store has it, for the next controller: its labels are no file's when a workload made it. Without a sandbox
// there is nothing to do.
func (c *Controller) Carry(ctx context.Context, key reconcile.Key) error {
	c.labelling.Lock()
	defer c.labelling.Unlock()
	p, ok := store.Get[*corev1.Pod](c.store, key)
	if !ok {
		return nil
	}
	if o, err := c.observed.get(ctx, string(p.UID)); err != nil || o == nil {
		return err
	}
	return c.carry(ctx, p)
}

// carry makes the sandbox of a Pod carry it as it is now.
func (c *Controller) carry(ctx context.Context, p *corev1.Pod) error {
	if err := c.opts.Pods.SetObject(ctx, string(p.UID), pod.Label(p)); err != nil {
		return fmt.Errorf("cannot keep what pod %s/%s is now: %w", p.Namespace, p.Name, err)
	}
	return nil
}
