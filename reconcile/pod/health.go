package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/runtime"
)

// reasonPostStart is what a container waits for whose hook has failed, until it has ended.
const reasonPostStart = "PostStartHookError"

func preStop(c *container) *corev1.LifecycleHandler {
	if c.spec.Lifecycle == nil {
		return nil
	}
	return c.spec.Lifecycle.PreStop
}

func postStart(c *container) *corev1.LifecycleHandler {
	if c.spec.Lifecycle == nil {
		return nil
	}
	return c.spec.Lifecycle.PostStart
}

// hook is the run of a hook for the running attempt.
func (p *pass) hook(c *container, kind reconcile.HookKind) (reconcile.HookRun, bool) {
	run, ok := p.in.Memory.Hooks[reconcile.HookID{Container: c.spec.Name, Kind: kind}]
	return run, ok && c.last != nil && run.Attempt == c.last.Attempt
}

func (p *pass) runHook(c *container, kind reconcile.HookKind, handler *corev1.LifecycleHandler, timeout time.Duration) {
	p.do(reconcile.RunHook{
		Pod: p.key, UID: p.pod.UID, Container: c.spec.Name, Attempt: c.last.Attempt, Kind: kind, Handler: handler, Timeout: timeout,
	})
}

// settlesIn tells that a container has been started and its hook is not done, or failed: it does not count as running yet, and those behind
// it wait. One that this plan starts is among them.
func (p *pass) settlesIn(c *container) bool {
	if postStart(c) == nil || !c.running() {
		return c.begun && postStart(c) != nil
	}
	run, begun := p.hook(c, reconcile.PostStart)
	return !begun || !run.Done() || run.Failure != ""
}

// lookAfter runs the hook of a container that has just been started, and ends one whose hook or whose probes say so.
func (p *pass) lookAfter(c *container) {
	if c.last.State != runtime.Running {
		return // it is being made
	}
	hook, begun := p.hook(c, reconcile.PostStart)
	if postStart(c) != nil {
		switch {
		case !begun:
			p.runHook(c, reconcile.PostStart, postStart(c), 0)
			return
		case !hook.Done():
			return
		case hook.Failure != "":
			p.wait(c, reasonPostStart, hook.Failure)
			p.endUnwell(c, "FailedPostStartHook", p.grace())
			return
		}
	}
	failed := p.in.Probes[c.spec.Name].Failed
	if failed == "" {
		return
	}
	what := "Container"
	if c.init {
		what = "Init container"
	}
	message := fmt.Sprintf("%s %s failed %s probe", what, c.spec.Name, failed)
	if !c.init && p.policy(c) != corev1.RestartPolicyNever {
		message += ", will be restarted"
	}
	p.endUnwell(c, message, p.probeGrace(c, failed))
}

// endUnwell ends one container of a Pod that goes on. Its grace began with its hook or its signal.
func (p *pass) endUnwell(c *container, message string, grace time.Duration) {
	began := p.in.Now
	if hook, ok := p.hook(c, reconcile.PreStop); ok {
		began = hook.Began
	} else if sent, ok := p.signalled(c); ok {
		began = sent.At
	}
	if began.After(p.in.Now) { // the clock was set back: nobody knows how long it has been
		began = p.in.Now.Add(-grace)
	}
	p.end(c, ending{decided: p.unreadySince(), deadline: began.Add(max(grace, minimumGrace)), turn: true, message: message, reason: message})
}

// probeGrace is the grace that a probe states for its own failures, or the Pod's.
func (p *pass) probeGrace(c *container, kind ProbeKind) time.Duration {
	spec := c.spec.LivenessProbe
	if kind == Startup {
		spec = c.spec.StartupProbe
	}
	if spec != nil && spec.TerminationGracePeriodSeconds != nil {
		return time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
	}
	return p.grace()
}
