package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/runtime"
)

// downMargin is how long after the longest grace period a pod may take before it is removed by force.
const downMargin = 5 * time.Second

// Down ends every pod, gracefully and then by force, and forgets every last good object. It needs a Run that is under way, and makes it
// ignore its source from then on. progress is told how many pods are left, whenever that changes; nil for none. Down returns when
// the machine has no pod any more, or with the reason why it still has.
func (c *Controller) Down(ctx context.Context, progress func(podsLeft int)) error {
	changes, cancel := c.Changes()
	defer cancel()
	if err := c.adopted(ctx, changes); err != nil {
		return err
	}
	tell := changing(progress)
	tell(c.store.Len(reconcile.KindPod)) // before the first of them can have ended
	c.ingest.dropAll()
	c.lost.giveUp()
	c.enqueueAll()
	if err := c.drain(ctx, changes, tell); err != nil {
		return err
	}
	if err := c.removeRest(ctx); err != nil {
		return err
	}
	if c.opts.Router != nil {
		if _, err := c.opts.Router.Route(ctx, runtime.Traffic{}); err != nil {
			return fmt.Errorf("cannot end the traffic: %w", err)
		}
	}
	if err := c.store.Forget(); err != nil {
		return fmt.Errorf("cannot forget the last good objects: %w", err)
	}
	return nil
}

// changing passes on numbers that are not the last one again; nil for nobody to pass them on to.
func changing(to func(int)) func(int) {
	last := -1
	return func(n int) {
		if to != nil && n != last {
			to(n)
		}
		last = n
	}
}

// adopted waits until Run knows what there is.
func (c *Controller) adopted(ctx context.Context, changes <-chan struct{}) error {
	for {
		c.mu.Lock()
		ready := c.ready
		c.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return fmt.Errorf("cannot take everything down: %w", context.Cause(ctx))
		}
	}
}

// dropAll ends every wish.
func (in *ingest) dropAll() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.down = true
	clear(in.vanished)
	for _, it := range in.c.store.List("") {
		switch {
		case it.Key.Kind == reconcile.KindPod && store.Orphan(it):
			if err := in.c.deletePod(reconcile.DeletePod{Key: it.Key, UID: it.Object.GetUID()}); err != nil {
				in.c.opts.Log.Error(err, "cannot end a pod", "key", it.Key.String())
			}
		case it.Source != nil, store.Orphan(it):
			in.c.store.Delete(it.Key, "")
		}
	}
}

// drain waits until the workers have ended every pod, or the longest grace period is over.
func (c *Controller) drain(ctx context.Context, changes <-chan struct{}, tell func(podsLeft int)) error {
	var longest int64
	for _, row := range c.store.List(reconcile.KindPod) {
		longest = max(longest, graceOf(row))
	}
	timeout := c.opts.Clock.NewTimer(time.Duration(longest)*time.Second + downMargin)
	defer timeout.Stop()
	for {
		left := c.store.Len(reconcile.KindPod)
		tell(left)
		if left == 0 && !c.storageEnding() {
			return nil
		}
		select {
		case <-changes:
		case <-timeout.C():
			return nil
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for the end of %d pods: %w", left, context.Cause(ctx))
		}
	}
}

// removeRest removes by force what did not end, and what no Pod is known for.
func (c *Controller) removeRest(ctx context.Context) error {
	list, err := c.opts.Pods.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list the pods of this machine: %w", err)
	}
	var errs []error
	for i := range list {
		if err := c.opts.Pods.RemoveSandbox(ctx, list[i].UID); err != nil {
			errs = append(errs, fmt.Errorf("cannot remove pod %s/%s: %w", list[i].Namespace, list[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// graceOf is a pod's grace period in seconds.
func graceOf(it store.Item) int64 {
	p, ok := it.Object.(*corev1.Pod)
	if !ok {
		return 0
	}
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return *s
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}
