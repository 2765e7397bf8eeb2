package pod

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/runtime"
)

// run moves a Pod that shall live: images, sandbox, init containers in their order, then the others.
func (p *pass) run() {
	if len(p.pod.Spec.SchedulingGates) > 0 || !p.schedule() {
		return
	}
	if err := p.check(); err != nil {
		for _, c := range p.all() {
			p.wait(c, runtime.ReasonConfigError, err.Error())
		}
		return
	}
	p.fetchImages()
	if p.ready {
		p.updateFiles()
	} else if p.waitForVolumes() || !p.haveVolumeImages() {
		return
	}
	if !p.ensureSandbox() {
		return
	}
	p.startExtras()
	if !p.startOver() || !p.initialize() {
		return
	}
	held := false
	for _, c := range p.mains {
		if !held || c.running() {
			p.keepRunning(c)
		}
		held = held || p.settlesIn(c)
	}
}

// fetchImages asks at once for everything the Pod needs first, so that pulls overlap.
func (p *pass) fetchImages() {
	for _, c := range p.all() {
		if c.last == nil {
			p.haveImage(c)
		}
	}
}

// ensureSandbox tells whether containers can be started now, in the sandbox that is there or that this plan makes.
func (p *pass) ensureSandbox() bool {
	if p.ready {
		return !p.in.Unjudged || slices.ContainsFunc(p.all(), p.current) // the table that knows it makes it due
	}
	left := false
	for _, c := range p.all() {
		if c.running() {
			left = true
			p.kill(c, "the pod has lost its sandbox")
		}
	}
	if left {
		p.again(killAgain)
		return false
	}
	if p.in.Undirected && p.asksCluster() {
		return false // the first table makes it due
	}
	if failed := p.in.Memory.Sandbox; failed.Failures > 0 {
		if wait := remaining(failed.At, sandboxBackoff(failed.Failures), p.in.Now); wait > 0 {
			p.again(wait)
			for _, c := range p.all() {
				p.wait(c, reasonSandbox, failed.Message)
			}
			return false
		}
	}
	if p.changed {
		p.note(false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	p.do(reconcile.RunSandbox{Pod: p.key, Config: p.sandbox()})
	return !p.in.Unjudged
}

// initialize runs init containers one after the other and reports whether the others may start. Sidecars only have to be started, and are
// kept running from then on. Once a container of the Pod itself has run in this sandbox the Pod stays initialized.
func (p *pass) initialize() bool {
	done := p.initialized()
	for _, c := range p.inits {
		switch {
		case c.sidecar:
			p.keepRunning(c)
			if !done && !p.started(c) {
				return false
			}
		case done || p.complete(c):
		default:
			p.keepRunning(c)
			return false
		}
	}
	return true
}

func (p *pass) initialized() bool {
	if slices.ContainsFunc(p.mains, p.current) {
		return true
	}
	for _, c := range p.inits {
		if c.sidecar && !p.started(c) || !c.sidecar && !p.complete(c) {
			return false
		}
	}
	return true
}

// complete tells that an init container has done its work in this sandbox.
func (p *pass) complete(c *container) bool { return p.current(c) && c.exited() && c.last.ExitCode == 0 }

func (p *pass) started(c *container) bool {
	if !c.running() || c.last.State != runtime.Running || p.settlesIn(c) {
		return false
	}
	probe, probed := p.in.Probes[c.spec.Name]
	return !probed || probe.Started
}

// current tells that the newest attempt belongs to the sandbox that is there. The tag in the hash says so for what we started; the time
// covers a machine that counts sandboxes differently.
// The sandbox of a Pod that has come to its end may have been stopped: it is still the last one that counts.
func (p *pass) current(c *container) bool {
	ended := p.verdict.phase != "" && p.in.Observed != nil
	if c.last == nil || !p.ready && !ended || !p.inRound(c) {
		return false
	}
	last := &p.in.Observed.Sandbox
	return sandboxOf(c.last.SpecHash) == last.Attempt || !c.last.StartedAt.Before(last.CreatedAt)
}

// keepRunning starts a container that shall run and does not, if its time has come, and ends one that is not well.
func (p *pass) keepRunning(c *container) {
	if c.running() {
		p.lookAfter(c)
		return
	}
	if c.exited() && !p.restarts(c) && p.inRound(c) && (!c.init || p.current(c)) {
		return
	}
	if wait := p.backoff(c); wait > 0 {
		p.again(wait)
		p.waitBackoff(c)
		return
	}
	if !p.haveImage(c) {
		return
	}
	p.start(c)
}

func (p *pass) start(c *container) {
	cfg, err := p.containerConfig(c)
	if errors.Is(err, errNoAddress) {
		p.again(0) // the sandbox of this plan gets its address first
		return
	}
	if err != nil {
		p.wait(c, runtime.ReasonConfigError, err.Error())
		return
	}
	c.begun = true
	p.do(reconcile.StartContainer{Pod: p.key, UID: p.pod.UID, Config: cfg})
}

// restarts tells whether an ended container is started again: rules of the container, its own policy, the Pod's.
func (p *pass) restarts(c *container) bool {
	code := c.last.ExitCode
	if c.init && !c.sidecar && code == 0 {
		return false
	}
	if action(c) == corev1.ContainerRestartRuleActionRestart {
		return true
	}
	switch p.policy(c) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	default: // Always, which is also what nobody has said otherwise
		return true
	}
}

// policy is the container's own, or the Pod's.
func (p *pass) policy(c *container) corev1.RestartPolicy {
	if own := c.spec.RestartPolicy; own != nil {
		return corev1.RestartPolicy(*own)
	}
	return p.pod.Spec.RestartPolicy
}

// attemptOf numbers the next start. What the status remembers counts even when the machine has forgotten it.
func (p *pass) attemptOf(c *container) uint32 {
	if c.refused != nil {
		return c.refused.Attempt
	}
	var n uint32
	if c.last != nil {
		n = c.last.Attempt + 1
	}
	if had := p.formerStatus(c); had != nil && had.ContainerID != "" {
		n = max(n, uint32(had.RestartCount)+1)
	}
	return n
}

// dropOldAttempts keeps the newest attempt and the one before it, which carry state, last state and logs.
func (p *pass) dropOldAttempts() {
	if p.in.Observed == nil || p.forget {
		return
	}
	list := p.in.Observed.Containers
	for i := range list {
		s := &list[i]
		if s.State == runtime.Exited && s.Attempt+1 < newest(list, s.Name) {
			p.do(reconcile.RemoveContainer{Pod: p.key, UID: p.pod.UID, Container: s.Name, Attempt: s.Attempt})
		}
	}
}

func newest(list []runtime.ContainerStatus, name string) (attempt uint32) {
	for i := range list {
		if list[i].Name == name {
			attempt = max(attempt, list[i].Attempt)
		}
	}
	return attempt
}

func (p *pass) waitBackoff(c *container) {
	if c.refused != nil {
		p.wait(c, c.refused.Reason, c.refused.Message)
		return
	}
	p.wait(c, reasonCrashLoop, fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
		c.last.Backoff, c.spec.Name, p.pod.Name, p.pod.Namespace, p.pod.UID))
}
