package controller

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// memory is what the controller remembers of its own deeds, by pod. Stored values are not changed: readers may keep them.
type memory struct {
	mu   sync.Mutex
	pods map[types.UID]reconcile.PodMemory
}

func newMemory() *memory { return &memory{pods: map[types.UID]reconcile.PodMemory{}} }

func (m *memory) get(uid types.UID) reconcile.PodMemory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pods[uid]
}

func (m *memory) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pods, uid)
}

func (m *memory) failed(uid types.UID, container string, f reconcile.StartFailure) {
	m.change(uid, func(p *reconcile.PodMemory) {
		p.Failed = maps.Clone(p.Failed)
		if p.Failed == nil {
			p.Failed = map[string]reconcile.StartFailure{}
		}
		p.Failed[container] = f
	})
}

func (m *memory) started(uid types.UID, container string) {
	m.change(uid, func(p *reconcile.PodMemory) {
		if _, ok := p.Failed[container]; ok {
			p.Failed = maps.Clone(p.Failed)
			delete(p.Failed, container)
		}
	})
}

// sandboxFailed counts a sandbox that could not be made; sandboxRuns forgets the count.
func (m *memory) sandboxFailed(uid types.UID, at time.Time, message string) {
	m.change(uid, func(p *reconcile.PodMemory) {
		p.Sandbox = reconcile.SandboxFailure{Failures: p.Sandbox.Failures + 1, Message: message, At: at}
	})
}

func (m *memory) sandboxRuns(uid types.UID) {
	m.change(uid, func(p *reconcile.PodMemory) { p.Sandbox = reconcile.SandboxFailure{} })
}

func (m *memory) signalled(uid types.UID, container string, s reconcile.Signalled) {
	m.change(uid, func(p *reconcile.PodMemory) {
		p.Signalled = maps.Clone(p.Signalled)
		if p.Signalled == nil {
			p.Signalled = map[string]reconcile.Signalled{}
		}
		p.Signalled[container] = s
	})
}

// hook remembers a run. That of an earlier attempt, which ended late, does not replace a later one's.
func (m *memory) hook(uid types.UID, id reconcile.HookID, run reconcile.HookRun) {
	m.change(uid, func(p *reconcile.PodMemory) {
		if had, ok := p.Hooks[id]; ok && had.Attempt > run.Attempt {
			return
		}
		p.Hooks = maps.Clone(p.Hooks)
		if p.Hooks == nil {
			p.Hooks = map[reconcile.HookID]reconcile.HookRun{}
		}
		p.Hooks[id] = run
	})
}

func (m *memory) change(uid types.UID, change func(*reconcile.PodMemory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	change(&p)
	m.pods[uid] = p
}
