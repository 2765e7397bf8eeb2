package pod

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/runtime"
)

// setConditions writes the conditions of a kubelet; those of others stay.
func (p *pass) setConditions(s *corev1.PodStatus, initialized bool) {
	ended := s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}
	if len(p.pod.Spec.SchedulingGates) > 0 {
		scheduled = failing(corev1.PodScheduled, corev1.PodReasonSchedulingGated, "Scheduling is blocked due to non-empty scheduling gates")
	}
	init := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if !initialized {
		init = failing(corev1.PodInitialized, "ContainersNotInitialized", "containers with incomplete status: "+p.incomplete())
	}
	ready := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}
	switch names := p.unready(s); {
	case ended && s.Phase == corev1.PodSucceeded:
		ready = failing(corev1.ContainersReady, "PodCompleted", "")
	case ended:
		ready = failing(corev1.ContainersReady, "PodFailed", "")
	case len(names) > 0:
		ready = failing(corev1.ContainersReady, "ContainersNotReady", "containers with unready status: "+listed(names))
	case !initialized:
		ready = failing(corev1.ContainersReady, "ContainersNotReady", "containers with incomplete status: "+p.incomplete())
	}
	whole := ready
	whole.Type = corev1.PodReady
	if gate := p.closedGate(s); ready.Status == corev1.ConditionTrue && gate != "" {
		whole = failing(corev1.PodReady, "ReadinessGatesNotReady", fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist or is not True", gate))
	}
	sandbox := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}
	if p.ready {
		sandbox.Status = corev1.ConditionTrue
	}
	list := []corev1.PodCondition{sandbox, init, whole, ready, scheduled}
	if over, was := p.over, conditionAt(s.Conditions, corev1.AllContainersRestarting) >= 0; over || was {
		restarting := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
		if over {
			restarting.Status, restarting.Reason, restarting.Message = corev1.ConditionTrue, "RestartAllContainersStarted", "container exited with restart policy rule"
		}
		list = append(list, restarting)
	}
	changed := false
	for i := range list {
		changed = p.date(s, &list[i]) || changed
	}
	if changed {
		s.Conditions = merged(s.Conditions, list)
	}
}

// listed prints names as Go does.
func listed(names []string) string { return "[" + strings.Join(names, " ") + "]" }

func failing(kind corev1.PodConditionType, reason, message string) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
}

// date gives a condition the time of its last change of status, and tells whether it says anything new. Where no time is remembered, because
// berth began anew, it comes from the facts, so that a Pod that has long been ready has not just become so.
func (p *pass) date(s *corev1.PodStatus, c *corev1.PodCondition) bool {
	c.ObservedGeneration = p.pod.Generation
	c.LastTransitionTime = metav1.NewTime(p.in.Now)
	i := conditionAt(s.Conditions, c.Type)
	if i < 0 {
		if c.Status == corev1.ConditionTrue {
			c.LastTransitionTime = metav1.NewTime(p.trueSince(c.Type))
		}
		return true
	}
	// A change that is still to come happened before the clock was set back.
	if s.Conditions[i].Status == c.Status && !s.Conditions[i].LastTransitionTime.After(p.in.Now) {
		c.LastTransitionTime = s.Conditions[i].LastTransitionTime
	}
	return !sameCondition(c, &s.Conditions[i])
}

func holds(list []corev1.PodCondition, kind corev1.PodConditionType) bool {
	at := conditionAt(list, kind)
	return at >= 0 && list[at].Status == corev1.ConditionTrue
}

func conditionAt(list []corev1.PodCondition, kind corev1.PodConditionType) int {
	for i := range list {
		if list[i].Type == kind {
			return i
		}
	}
	return -1
}

// merged is a new list: the old conditions in their places, the new ones in their stead or behind them.
func merged(old, by []corev1.PodCondition) []corev1.PodCondition {
	out := append(make([]corev1.PodCondition, 0, max(len(old), len(by))), old...)
	for _, c := range by {
		if i := conditionAt(out, c.Type); i >= 0 {
			out[i] = c
		} else {
			out = append(out, c)
		}
	}
	return out
}

func (p *pass) trueSince(kind corev1.PodConditionType) time.Time {
	since := p.pod.CreationTimestamp.Time
	if kind == corev1.PodScheduled {
		return since
	}
	if p.in.Observed != nil && p.in.Observed.Sandbox.CreatedAt.After(since) {
		since = p.in.Observed.Sandbox.CreatedAt
	}
	if kind == corev1.PodReady || kind == corev1.ContainersReady {
		for _, c := range p.every {
			if at, known := p.readySince(c); !known {
				return p.in.Now
			} else if at.After(since) {
				since = at
			}
		}
	}
	if since.IsZero() || since.After(p.in.Now) {
		return p.in.Now
	}
	return since
}

// readySince is since when a running container is ready, if it is; not known when only the probes of before knew.
func (p *pass) readySince(c *container) (at time.Time, known bool) {
	if c.last == nil || c.last.State != runtime.Running {
		return at, true
	}
	if probe, ok := p.in.Probes[c.spec.Name]; ok {
		return probe.ReadySince, !probe.ReadySince.IsZero()
	}
	if hook, ok := p.hook(c, reconcile.PostStart); ok && hook.Done() {
		return hook.Ended, true
	}
	return c.last.StartedAt, true
}

// unready names the containers that keep the Pod from being ready: sidecars are asked as those that do the work are.
func (p *pass) unready(s *corev1.PodStatus) []string {
	var names []string
	for i, c := range p.inits {
		if c.sidecar && !s.InitContainerStatuses[i].Ready {
			names = append(names, c.spec.Name)
		}
	}
	for _, c := range p.mains {
		if i := slices.IndexFunc(s.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == c.spec.Name }); !s.ContainerStatuses[i].Ready {
			names = append(names, c.spec.Name)
		}
	}
	return names
}

func (p *pass) incomplete() string {
	var names []string
	for _, c := range p.inits {
		if c.sidecar && !p.started(c) || !c.sidecar && !p.complete(c) {
			names = append(names, c.spec.Name)
		}
	}
	return listed(names)
}

// closedGate returns the first readiness gate without a true condition.
func (p *pass) closedGate(s *corev1.PodStatus) string {
	for _, g := range p.pod.Spec.ReadinessGates {
		open := slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == g.ConditionType && c.Status == corev1.ConditionTrue
		})
		if !open {
			return string(g.ConditionType)
		}
	}
	return ""
}
