package reconciletest

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// addHooks gives some containers hooks. One that runs beside the start is for programs only that are ready at once: so the truth is that they
// are ready when it is done.
func (w *world) addHooks(spec *corev1.PodSpec) {
	hook := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			c := &list[i]
			if kindOf(c.Image) != imageGood || w.rng.IntN(3) > 0 {
				continue
			}
			c.Lifecycle = &corev1.Lifecycle{}
			if w.rng.IntN(2) == 0 {
				c.Lifecycle.PreStop = hook
			}
			if w.rng.IntN(2) == 0 {
				c.Lifecycle.PostStart = hook
			}
		}
	}
}

// hooked tells whether a container has a hook beside its start.
func (w *world) hooked(uid types.UID, name string) bool {
	p := w.podByUID(uid)
	if p == nil {
		return false
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return list[i].Lifecycle != nil && list[i].Lifecycle.PostStart != nil
			}
		}
	}
	return false
}

// runHook lets a hook take its time, and sometimes fail.
func (w *world) runHook(a reconcile.RunHook) {
	id := reconcile.HookID{Container: a.Container, Kind: a.Kind}
	if a.Kind == reconcile.PreStop {
		w.checkHears(a.UID, "hook")
	}
	m := w.memoryOf(a.UID)
	if run, ok := m.Hooks[id]; ok && run.Attempt == a.Attempt {
		w.fail("the %s hook of container %s of pod %s is begun twice", a.Kind, a.Container, a.Pod)
	}
	if m.Hooks == nil {
		m.Hooks = map[reconcile.HookID]reconcile.HookRun{}
	}
	run := reconcile.HookRun{Attempt: a.Attempt, Began: w.clock.wall}
	m.Hooks[id] = run
	took := time.Duration(w.rng.IntN(10000)) * time.Millisecond
	if a.Timeout > 0 {
		took = min(took, a.Timeout)
	}
	fails := w.rng.IntN(8) == 0
	w.later(took, func() {
		if w.memory[a.UID] != m || m.Hooks[id].Attempt != a.Attempt {
			return // the controller that waited for it is gone, or the attempt is
		}
		if run.Ended = w.clock.wall; fails {
			run.Failure = "it failed"
		}
		m.Hooks[id] = run
		w.enqueueUID(a.UID)
		l := w.lives[lifeID{a.UID, a.Container}]
		if a.Kind != reconcile.PostStart || l == nil || l.attempt != a.Attempt || !l.running {
			return
		}
		if fails {
			w.disturb(a.UID)
			return
		}
		l.ready, l.readySince, l.readyFor = true, w.clock.wall, w.clock.since
	})
}

// keepHooks is what a new controller finds written down: the hooks beside starts that are done.
func (w *world) keepHooks(old map[types.UID]*reconcile.PodMemory) {
	for uid, m := range old {
		for id, run := range m.Hooks {
			if id.Kind != reconcile.PostStart || !run.Done() || run.Failure != "" {
				continue
			}
			n := w.memoryOf(uid)
			if n.Hooks == nil {
				n.Hooks = map[reconcile.HookID]reconcile.HookRun{}
			}
			n.Hooks[id] = run
		}
	}
}
