package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"berth/runtime"
)

const (
	sigkill = 9
	sigterm = 15
)

// machine is the state behind all handles.
type machine struct {
	clock Clock

	mu        sync.Mutex
	pods      map[string]*pod
	images    map[string]runtime.Image
	pulls     map[string]PullFault
	pulled    []string
	volumes   map[string]runtime.StoredVolume // by ID
	onVolume  func(id string) error
	subs      map[*subscriber]struct{}
	calls     []string
	lastPID   int
	lastIP    int
	ipv6      bool
	onStart   func(uid string, cfg runtime.ContainerConfig) error
	onSandbox func(cfg runtime.SandboxConfig) error
	onExec    func(ctx context.Context, uid, name string, cfg runtime.ExecConfig) (int, error)
	serving   map[string]func(net.Conn)

	traffic       runtime.Traffic
	routeProblems []runtime.RouteProblem
	onRoute       func(t runtime.Traffic) error
	onSignal      func(uid, name string, signal int)
	policies      runtime.Policies
	onPolicies    func(p runtime.Policies) error
}

type pod struct {
	cfg        runtime.SandboxConfig
	sandbox    runtime.SandboxStatus
	containers []*container      // sorted by name, then attempt
	written    map[string][]byte // by VOLUME/PATH
}

type container struct {
	status   runtime.ContainerStatus
	stubborn bool
}

func (p *pod) status() runtime.PodStatus {
	s := runtime.PodStatus{UID: p.cfg.UID, Namespace: p.cfg.Namespace, Name: p.cfg.Name, Object: p.cfg.Object, Sandbox: p.sandbox}
	if len(p.containers) > 0 {
		s.Containers = make([]runtime.ContainerStatus, len(p.containers))
	}
	for i, c := range p.containers {
		s.Containers[i] = c.status
	}
	return s
}

func (m *machine) runSandbox(cfg runtime.SandboxConfig) (runtime.SandboxStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("run sandbox %s/%s", cfg.Namespace, cfg.Name)
	p := m.pods[cfg.UID]
	if p != nil && p.sandbox.Ready {
		return p.sandbox, nil
	}
	if err := m.haveVolumes(cfg); err != nil {
		return runtime.SandboxStatus{}, err
	}
	if m.onSandbox != nil {
		if err := m.onSandbox(cfg); err != nil {
			return runtime.SandboxStatus{}, fmt.Errorf("cannot run sandbox %s: %w", cfg.UID, err)
		}
	}
	if p == nil {
		p = &pod{}
		m.pods[cfg.UID] = p
	} else {
		p.sandbox.Attempt++
	}
	p.haveFiles(cfg)
	p.sandbox.Ready, p.sandbox.FormerIP, p.sandbox.FormerAddress6, p.sandbox.CreatedAt = true, "", netip.Addr{}, m.clock.Now()
	if !cfg.HostNetwork {
		m.lastIP++
		p.sandbox.IP = fmt.Sprintf("10.99.%d.%d", m.lastIP>>8&255, m.lastIP&255)
		if m.ipv6 {
			p.sandbox.Address6 = netip.MustParseAddr(fmt.Sprintf("fd99::%x", m.lastIP))
		}
	}
	m.tell(cfg.UID)
	return p.sandbox, nil
}

func (m *machine) stopSandbox(uid string, empty bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	if p == nil {
		return nil
	}
	for _, c := range p.containers {
		if c.status.State != runtime.Exited {
			return fmt.Errorf("cannot stop sandbox %s: container %q has not ended", uid, c.status.Name)
		}
	}
	if p.sandbox.Ready {
		m.note("stop sandbox %s/%s", p.cfg.Namespace, p.cfg.Name)
		p.sandbox.Ready, p.sandbox.IP, p.sandbox.FormerIP = false, "", p.sandbox.IP
		p.sandbox.Address6, p.sandbox.FormerAddress6 = netip.Addr{}, p.sandbox.Address6
		if empty {
			clear(p.written)
		}
		m.tell(uid)
	}
	return nil
}

func (m *machine) removeSandbox(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	if p == nil {
		return
	}
	m.note("remove sandbox %s/%s", p.cfg.Namespace, p.cfg.Name)
	delete(m.pods, uid)
	m.tell(uid)
}

func (m *machine) startContainer(uid string, cfg runtime.ContainerConfig) (runtime.ContainerStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	if p == nil {
		return runtime.ContainerStatus{}, fmt.Errorf("cannot start container %q of pod %s: %w", cfg.Name, uid, runtime.ErrNotFound)
	}
	m.note("start %s/%s %s %d", p.cfg.Namespace, p.cfg.Name, cfg.Name, cfg.Attempt)
	if !p.sandbox.Ready {
		return runtime.ContainerStatus{}, fmt.Errorf("cannot start container %q of pod %s: %w", cfg.Name, uid, runtime.ErrSandboxGone)
	}
	if c := p.find(cfg.Name, cfg.Attempt); c != nil {
		return c.status, nil // started before: idempotent
	}
	ref := cfg.ImageID
	if ref == "" {
		ref = cfg.Image
	}
	img, ok := m.image(ref)
	if !ok {
		return runtime.ContainerStatus{}, fmt.Errorf("cannot start container %q: image %q: %w", cfg.Name, ref, runtime.ErrNotFound)
	}
	now := m.clock.Now()
	c := &container{status: runtime.ContainerStatus{
		Name: cfg.Name, Attempt: cfg.Attempt, Backoff: cfg.Backoff, SpecHash: cfg.SpecHash, Image: cfg.Image, ImageID: img.ID,
		State: runtime.Running, StartedAt: now, LogPath: "/logs/" + uid + "/" + cfg.Name + "/" + strconv.Itoa(int(cfg.Attempt)) + ".log",
	}}
	defer m.tell(uid)
	p.add(c)
	if m.onStart != nil {
		if err := m.onStart(uid, cfg); err != nil {
			c.end(now, runtime.CannotStartExitCode, 0, runtime.ReasonStartError, err.Error())
			return c.status, err
		}
	}
	m.lastPID++
	c.status.PID = m.lastPID
	args := append(append([]string{}, cfg.Command...), cfg.Args...)
	c.stubborn = len(args) > 0 && args[0] == "stubborn"
	if code, ok := exitProgram(args); ok {
		c.end(now, code, 0, "", "")
	}
	return c.status, nil
}

func (m *machine) signal(uid, name string, signal int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.running(uid, name)
	if err != nil || c == nil {
		return err
	}
	m.note("signal %d %s %s", signal, uid, name)
	if signal == sigkill || signal == sigterm && !c.stubborn {
		c.end(m.clock.Now(), 128+signal, signal, "", "")
		m.tell(uid)
	}
	return nil
}

func (m *machine) removeContainer(uid, name string, attempt uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	if p == nil {
		return nil
	}
	c := p.find(name, attempt)
	if c == nil {
		return nil
	}
	if c.status.State != runtime.Exited {
		return fmt.Errorf("cannot remove container %q attempt %d of pod %s: it runs", name, attempt, uid)
	}
	m.note("remove %s/%s %s %d", p.cfg.Namespace, p.cfg.Name, name, attempt)
	p.containers = slices.DeleteFunc(p.containers, func(o *container) bool { return o == c })
	m.tell(uid)
	return nil
}

// running returns the newest attempt of a container when it runs, nil when it has ended.
func (m *machine) running(uid, name string) (*container, error) {
	p := m.pods[uid]
	if p == nil {
		return nil, fmt.Errorf("pod %s: %w", uid, runtime.ErrNotFound)
	}
	var last *container
	for _, c := range p.containers {
		if c.status.Name == name {
			last = c
		}
	}
	if last == nil {
		return nil, fmt.Errorf("container %q of pod %s: %w", name, uid, runtime.ErrNotFound)
	}
	if last.status.State != runtime.Running {
		return nil, nil
	}
	return last, nil
}

func (m *machine) note(format string, args ...any) {
	m.calls = append(m.calls, fmt.Sprintf(format, args...))
}

func (p *pod) find(name string, attempt uint32) *container {
	for _, c := range p.containers {
		if c.status.Name == name && c.status.Attempt == attempt {
			return c
		}
	}
	return nil
}

func (p *pod) add(c *container) {
	p.containers = append(p.containers, c)
	slices.SortFunc(p.containers, func(a, b *container) int {
		if a.status.Name != b.status.Name {
			if a.status.Name < b.status.Name {
				return -1
			}
			return 1
		}
		return int(a.status.Attempt) - int(b.status.Attempt)
	})
}

func (c *container) end(now time.Time, code, signal int, reason, message string) {
	if c.status.State == runtime.Exited {
		return
	}
	if reason == "" {
		reason = runtime.ReasonError
		if code == 0 {
			reason = runtime.ReasonCompleted
		}
	}
	c.status.State, c.status.FinishedAt, c.status.PID = runtime.Exited, now, 0
	c.status.ExitCode, c.status.Signal, c.status.Reason, c.status.Message = code, signal, reason, message
}

// exitProgram reads "exit N".
func exitProgram(args []string) (int, bool) {
	if len(args) != 2 || args[0] != "exit" {
		return 0, false
	}
	code, err := strconv.Atoi(args[1])
	return code, err == nil
}

// subscriber merges the events of one pod until they are taken.
type subscriber struct {
	mu   sync.Mutex
	uids map[string]struct{}
	wake chan struct{}
}

func (m *machine) subscribe() *subscriber {
	s := &subscriber{uids: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subs[s] = struct{}{}
	return s
}

func (m *machine) unsubscribe(s *subscriber) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.subs, s)
}

func (m *machine) tell(uid string) {
	for s := range m.subs {
		s.mu.Lock()
		s.uids[uid] = struct{}{}
		s.mu.Unlock()
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *subscriber) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	uids := slices.Sorted(maps.Keys(s.uids))
	clear(s.uids)
	return uids
}
