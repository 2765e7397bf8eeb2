package controller

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"

	"berth/reconcile"
)

// errTerminal marks what trying again cannot change.
var errTerminal = errors.New("giving up until the object changes")

// work is one worker: it takes keys until the queue is closed.
func (c *Controller) work(ctx context.Context) {
	for {
		key, ok := c.queue.Get()
		if !ok {
			return
		}
		after, err := c.pass(ctx, key)
		c.settle(ctx, key, after, err)
	}
}

// pass looks at the world once, decides, and acts. Calling it again is always safe. A planner that panics costs its own object only.
func (c *Controller) pass(ctx context.Context, key reconcile.Key) (after time.Duration, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot decide about %s: this is a mistake in berth: %v: %w\n%s", key, r, errTerminal, debug.Stack())
		}
	}()
	if key == keyTraffic {
		return c.direct(ctx)
	}
	if key == keyPolicies {
		return c.judge(ctx)
	}
	if key == keyScales {
		return 0, c.releaseScales()
	}
	if key == keyNamespaces {
		return 0, c.keepNamespaces()
	}
	plan, err := c.plan(ctx, key)
	if err != nil {
		return 0, err
	}
	log := logr.FromContextOrDiscard(ctx)
	for _, a := range plan.Actions {
		log.V(verbosity(a)).Info("acting", "key", key.String(), "action", a.String())
		again, err := c.execute(ctx, a)
		c.diary.decided(key, a, err)
		if err != nil {
			return 0, err
		}
		if again {
			c.queue.Add(key)
			return plan.RequeueAfter, nil
		}
	}
	return plan.RequeueAfter, nil
}

// settle is the only place that decides about trying again.
func (c *Controller) settle(ctx context.Context, key reconcile.Key, after time.Duration, err error) {
	defer c.queue.Done(key)
	log := logr.FromContextOrDiscard(ctx).WithValues("key", key.String())
	switch {
	case err != nil && ctx.Err() != nil:
		log.V(1).Info("left as it is: ending")
	case errors.Is(err, errTerminal):
		log.Error(err, "giving up until the object changes")
		c.noteFailure(key, err)
		c.events.add(reconcile.RecordEvent{Key: key, Warning: true, Reason: "InternalError", Message: firstLine(err)})
		c.queue.Forget(key)
	case err != nil:
		log.Error(err, "trying again")
		c.noteFailure(key, err)
		c.queue.AddBackoff(key)
	default:
		c.noteFailure(key, nil)
		c.queue.Forget(key)
		if after > 0 {
			c.queue.AddAfter(key, after)
		}
	}
	c.notify.notify()
}

// verbosity is 0 for what an operator wants to read: effects.
func verbosity(a reconcile.Action) int {
	switch a.(type) {
	case reconcile.UpdateStatus, reconcile.RecordEvent, reconcile.SetAnnotation, reconcile.ForgetPod, reconcile.RemoveContainer:
		return 1
	case reconcile.CreateObject, reconcile.UpdateObject, reconcile.DeleteObject, reconcile.AdoptObject, reconcile.ReleaseObject, reconcile.ProvisionVolume, reconcile.BindClaim,
		reconcile.UnbindVolume, reconcile.RemoveClaim, reconcile.RemoveVolume, reconcile.UpdateReplicaSet, reconcile.CreatePod, reconcile.DeletePod,
		reconcile.PullImage, reconcile.RunSandbox, reconcile.UpdateFiles, reconcile.StartContainer, reconcile.RunHook, reconcile.SignalContainer, reconcile.KillContainer,
		reconcile.StopSandbox, reconcile.Scale, reconcile.EvictPod, reconcile.RemoveSandbox, reconcile.ObtainCertificate:
		return 0
	}
	return 0
}
