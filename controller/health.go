package controller

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/probe"
	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// examine completes what is known of a pod by its probes and hooks, and tells those who run them which of its containers run now.
func (c *Controller) examine(p *corev1.Pod, in *pod.Input) {
	if !cared(p) {
		return
	}
	known := c.store.KnownOf(p.UID)
	running := runningOf(in.Observed)
	c.recallHooks(p.UID, running, known)
	in.Memory = c.memory.get(p.UID)
	c.hooks.keep(p.UID, running)
	in.Probes = c.prober.Look(p.UID, c.targets(p, in, running, known))
}

// cared tells that a pod has any probe or hook: most have none, and cost nothing here.
func cared(p *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			s := &list[i]
			if s.Lifecycle != nil || s.StartupProbe != nil || s.LivenessProbe != nil || s.ReadinessProbe != nil {
				return true
			}
		}
	}
	return false
}

// runningOf is the newest attempt of each container that runs, by name.
func runningOf(o *runtime.PodStatus) map[string]*runtime.ContainerStatus {
	running := map[string]*runtime.ContainerStatus{}
	if o == nil {
		return running
	}
	for i := range o.Containers { // the newest attempt is the last
		s := &o.Containers[i]
		if delete(running, s.Name); s.State == runtime.Running {
			running[s.Name] = s
		}
	}
	return running
}

// recallHooks remembers the postStart hooks that an earlier controller has seen done.
func (c *Controller) recallHooks(uid types.UID, running map[string]*runtime.ContainerStatus, known map[string]store.Known) {
	for name, s := range running {
		id := reconcile.HookID{Container: name, Kind: reconcile.PostStart}
		if run, ok := c.memory.get(uid).Hooks[id]; ok && run.Attempt == s.Attempt {
			continue
		}
		if k := known[name]; !k.HookedAt.IsZero() && k.Attempt == s.Attempt {
			c.memory.hook(uid, id, reconcile.HookRun{Attempt: s.Attempt, Began: s.StartedAt, Ended: k.HookedAt})
		}
	}
}

// targets are the containers of a pod to be probed: those that run, once their hook is done. A pod that has ended is asked no more.
func (c *Controller) targets(p *corev1.Pod, in *pod.Input, running map[string]*runtime.ContainerStatus, known map[string]store.Known) []probe.Target {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return nil
	}
	var targets []probe.Target
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			s := running[list[i].Name]
			if s == nil || !hooked(&list[i], s.Attempt, in.Memory) {
				continue
			}
			t := c.target(p, &list[i], in.Observed)
			t.Attempt, t.StartedAt = s.Attempt, s.StartedAt
			if k, ok := known[s.Name]; ok {
				t.Known = &probe.Known{Attempt: k.Attempt, Started: k.Started, Ready: k.Ready, ReadySince: k.ReadySince}
			}
			targets = append(targets, t)
		}
	}
	return targets
}

// hooked tells that the postStart hook of a container's attempt is done, or that it has none.
func hooked(spec *corev1.Container, attempt uint32, m reconcile.PodMemory) bool {
	if spec.Lifecycle == nil || spec.Lifecycle.PostStart == nil {
		return true
	}
	run, ok := m.Hooks[reconcile.HookID{Container: spec.Name, Kind: reconcile.PostStart}]
	return ok && run.Attempt == attempt && run.Done() && run.Failure == ""
}

func (c *Controller) target(p *corev1.Pod, spec *corev1.Container, o *runtime.PodStatus) probe.Target {
	t := probe.Target{
		Pod: reconcile.Key{Kind: reconcile.KindPod, Namespace: p.Namespace, Name: p.Name}, UID: p.UID,
		Container: spec, Ending: p.DeletionTimestamp != nil,
	}
	switch {
	case p.Spec.HostNetwork:
		t.IP = c.opts.Node.HostIP
	case o != nil:
		t.IP = o.Sandbox.IP
	}
	return t
}

// verdictChanged keeps what the prober knows now for the next controller, and makes the pod due.
func (c *Controller) verdictChanged(key reconcile.Key, uid types.UID) {
	c.keepKnown(uid)
	c.queue.Add(key)
}

// keepKnown writes down what cannot be observed of a pod. The newest write has the newest knowledge.
func (c *Controller) keepKnown(uid types.UID) {
	c.keeping.Lock()
	defer c.keeping.Unlock()
	known := map[string]store.Known{}
	for name, k := range c.prober.Known(uid) {
		known[name] = store.Known{Attempt: k.Attempt, Started: k.Started, Ready: k.Ready, ReadySince: k.ReadySince}
	}
	for id, run := range c.memory.get(uid).Hooks {
		if id.Kind != reconcile.PostStart || !run.Done() || run.Failure != "" {
			continue
		}
		if k := known[id.Container]; k.Attempt <= run.Attempt {
			if k.Attempt < run.Attempt {
				k = store.Known{Attempt: run.Attempt}
			}
			k.HookedAt = run.Ended
			known[id.Container] = k
		}
	}
	c.store.SetKnown(uid, maps.Clone(known))
}
