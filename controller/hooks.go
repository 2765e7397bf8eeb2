package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/probe"
	"berth/controller/store"
	"berth/reconcile"
	"berth/runtime"
)

// hooks are the lifecycle hooks under way, each in a goroutine of its own: one may take minutes, and no worker waits for it. A hook ends with
// its container, and with its controller: the next one runs it again, so that each is run to its end at least once.
type hooks struct {
	under sync.WaitGroup

	mu   sync.Mutex
	runs map[types.UID]map[reconcile.HookID]*hookRun
}

type hookRun struct {
	attempt uint32
	cancel  context.CancelFunc
}

func newHooks() *hooks { return &hooks{runs: map[types.UID]map[reconcile.HookID]*hookRun{}} }

// begin notes a hook, unless it runs already.
func (h *hooks) begin(ctx context.Context, uid types.UID, id reconcile.HookID, attempt uint32, timeout time.Duration) (context.Context, func(), bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.runs[uid][id]; r != nil && r.attempt == attempt {
		return nil, nil, false
	}
	cancel := context.CancelFunc(nil)
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	r := &hookRun{attempt, cancel}
	if h.runs[uid] == nil {
		h.runs[uid] = map[reconcile.HookID]*hookRun{}
	}
	h.runs[uid][id] = r
	return ctx, func() {
		cancel()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.runs[uid][id] == r {
			delete(h.runs[uid], id)
		}
		if len(h.runs[uid]) == 0 {
			delete(h.runs, uid)
		}
	}, true
}

// keep ends the hooks of containers that do not run any more.
func (h *hooks) keep(uid types.UID, running map[string]*runtime.ContainerStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, r := range h.runs[uid] {
		if s := running[id.Container]; s == nil || s.Attempt != r.attempt {
			r.cancel()
		}
	}
}

func (h *hooks) forget(uid types.UID) { h.keep(uid, nil) }

// runHook runs a hook beside everything else. The planner hears of its end by the memory of the pod.
func (c *Controller) runHook(ctx context.Context, a reconcile.RunHook) {
	p, ok := store.Get[*corev1.Pod](c.store, a.Pod)
	spec := containerOf(p, a.Container)
	if !ok || p.UID != a.UID || spec == nil {
		return // the pod is gone
	}
	id := reconcile.HookID{Container: a.Container, Kind: a.Kind}
	within, end, fresh := c.hooks.begin(ctx, a.UID, id, a.Attempt, a.Timeout)
	if !fresh {
		return
	}
	run := reconcile.HookRun{Attempt: a.Attempt, Began: c.opts.Clock.Now()}
	c.memory.hook(a.UID, id, run)
	t := c.target(p, spec, c.observed.peek(string(a.UID)))
	c.hooks.under.Go(func() {
		err := c.asker.Hook(within, c.opts.Clock, &t, a.Handler)
		given := within.Err()
		end()
		if ctx.Err() != nil {
			return // the next controller runs it again
		}
		if errors.Is(err, probe.ErrFallback) {
			c.events.add(reconcile.RecordEvent{
				Key: a.Pod, UID: a.UID, Warning: true, Reason: "LifecycleHTTPFallback", Message: "request to HTTPS lifecycle hook " + err.Error(),
			})
			err = nil
		}
		if run.Ended = c.opts.Clock.Now(); err != nil {
			run.Failure = err.Error()
		}
		c.memory.hook(a.UID, id, run)
		switch {
		case err == nil && a.Kind == reconcile.PostStart:
			c.keepKnown(a.UID)
		case err != nil && given == nil: // not for the reason that its container or its time is over
			// Without what it has said: that may be secret.
			logr.FromContextOrDiscard(ctx).V(1).Info("a hook has failed", "key", a.Pod.String(), "container", a.Container, "hook", a.Kind, "reason", run.Failure)
			c.events.add(reconcile.RecordEvent{
				Key: a.Pod, UID: a.UID, Warning: true, Reason: "Failed" + string(a.Kind) + "Hook", Message: string(a.Kind) + "Hook failed",
			})
		}
		c.queue.Add(a.Pod)
	})
}

func containerOf(p *corev1.Pod, name string) *corev1.Container {
	if p == nil {
		return nil
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
