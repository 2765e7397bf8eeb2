// Package runtimetest has one suite that every runtime must pass, and the one fake runtime: a machine in memory, with faults to order.
package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"berth/runtime"
)

// Clock tells the time of the fake machine.
type Clock interface {
	Now() time.Time
}

// ErrDied is what a handle returns once its controller was killed.
var ErrDied = errors.New("the controller was killed")

// Fake is a handle on a machine in memory. It implements every interface of the contract. Reopen gives further handles on the same machine.
//
// A program is the first word of Command and Args together: "exit N" ends at once, "stubborn" ignores every signal but SIGKILL, anything else
// runs until it is signalled.
type Fake struct {
	*machine

	mu    sync.Mutex
	dead  bool
	left  int // calls until death; -1 for ever
	after bool
	died  func()
}

var (
	_ runtime.Pods       = (*Fake)(nil)
	_ runtime.Containers = (*Fake)(nil)
	_ runtime.Executor   = (*Fake)(nil)
	_ runtime.Dialer     = (*Fake)(nil)
	_ runtime.Events     = (*Fake)(nil)
	_ runtime.Images     = (*Fake)(nil)
)

// New returns a handle on a new machine, without pods, that can pull every image.
func New(clock Clock) *Fake {
	return &Fake{left: -1, machine: &machine{
		clock:   clock,
		pods:    map[string]*pod{},
		images:  map[string]runtime.Image{},
		pulls:   map[string]PullFault{},
		subs:    map[*subscriber]struct{}{},
		volumes: map[string]runtime.StoredVolume{},
		serving: map[string]func(net.Conn){},
	}}
}

// Reopen returns a new handle on the same machine, as a controller gets it that was started anew. The old handle is dead.
func (f *Fake) Reopen() *Fake {
	f.Kill()
	return &Fake{left: -1, machine: f.machine}
}

// Kill makes this handle do nothing and fail from now on, as kill -9 of its controller does.
func (f *Fake) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

// KillAfter kills the handle at the call that follows n more effects; with after, once that call has had its effect too. died is called
// at that moment, when it is not nil; it must not call the fake.
func (f *Fake) KillAfter(n int, after bool, died func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.after, f.died = n, after, died
}

// Dead tells whether the handle was killed.
func (f *Fake) Dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// enter admits one call. The returned error is what the caller must return when it has had its effect.
func (f *Fake) enter(ctx context.Context, effect bool) (after, before error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrDied
	}
	if !effect || f.left < 0 {
		return nil, nil
	}
	if f.left > 0 {
		f.left--
		return nil, nil
	}
	f.dead = true
	if f.died != nil {
		f.died()
	}
	if f.after {
		return ErrDied, nil
	}
	return nil, ErrDied
}

// List implements runtime.Pods.
func (f *Fake) List(ctx context.Context) ([]runtime.PodStatus, error) {
	if _, err := f.enter(ctx, false); err != nil {
		return nil, err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	var list []runtime.PodStatus
	for _, uid := range slices.Sorted(maps.Keys(f.pods)) {
		list = append(list, f.pods[uid].status())
	}
	return list, nil
}

// Status implements runtime.Pods.
func (f *Fake) Status(ctx context.Context, uid string) (runtime.PodStatus, error) {
	if _, err := f.enter(ctx, false); err != nil {
		return runtime.PodStatus{}, err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	p := f.pods[uid]
	if p == nil {
		return runtime.PodStatus{}, fmt.Errorf("pod %s: %w", uid, runtime.ErrNotFound)
	}
	return p.status(), nil
}

// SetObject implements runtime.Pods.
func (f *Fake) SetObject(ctx context.Context, uid string, object []byte) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	p := f.pods[uid]
	if p == nil {
		return fmt.Errorf("pod %s: %w", uid, runtime.ErrNotFound)
	}
	p.cfg.Object = object
	return after
}

// RunSandbox implements runtime.Pods.
func (f *Fake) RunSandbox(ctx context.Context, cfg runtime.SandboxConfig) (runtime.SandboxStatus, error) {
	after, err := f.enter(ctx, true)
	if err != nil {
		return runtime.SandboxStatus{}, err
	}
	s, err := f.runSandbox(cfg)
	return s, errors.Join(err, after)
}

// RemoveSandbox implements runtime.Pods.
func (f *Fake) RemoveSandbox(ctx context.Context, uid string) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	f.removeSandbox(uid)
	return after
}

// StopSandbox implements runtime.Pods.
func (f *Fake) StopSandbox(ctx context.Context, uid string, empty bool) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	return errors.Join(f.stopSandbox(uid, empty), after)
}

// StartContainer implements runtime.Containers.
func (f *Fake) StartContainer(ctx context.Context, uid string, cfg runtime.ContainerConfig) (runtime.ContainerStatus, error) {
	after, err := f.enter(ctx, true)
	if err != nil {
		return runtime.ContainerStatus{}, err
	}
	c, err := f.startContainer(uid, cfg)
	return c, errors.Join(err, after)
}

// SignalContainer implements runtime.Containers.
func (f *Fake) SignalContainer(ctx context.Context, uid, name string, signal int) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	f.machine.mu.Lock()
	hook := f.onSignal
	f.machine.mu.Unlock()
	if hook != nil {
		hook(uid, name, signal)
	}
	return errors.Join(f.signal(uid, name, signal), after)
}

// KillContainer implements runtime.Containers.
func (f *Fake) KillContainer(ctx context.Context, uid, name string) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	return errors.Join(f.signal(uid, name, sigkill), after)
}

// RemoveContainer implements runtime.Containers.
func (f *Fake) RemoveContainer(ctx context.Context, uid, name string, attempt uint32) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	return errors.Join(f.removeContainer(uid, name, attempt), after)
}

// Dial implements runtime.Dialer. It reaches what Serve was told of; everything else refuses.
func (f *Fake) Dial(ctx context.Context, uid, network, addr string) (net.Conn, error) {
	if _, err := f.enter(ctx, false); err != nil {
		return nil, err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	p := f.pods[uid]
	if p == nil {
		return nil, fmt.Errorf("cannot dial %s for pod %s: %w", addr, uid, runtime.ErrNotFound)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("cannot dial %s: %w", addr, err)
	}
	serve := f.serving[p.cfg.Namespace+"/"+p.cfg.Name+":"+port]
	if serve == nil {
		return nil, fmt.Errorf("dial %s %s: connect: connection refused", network, addr)
	}
	here, there := net.Pipe()
	go serve(there)
	return here, nil
}

// Exec implements runtime.Executor. What OnExec was told decides; without it "exit N" returns N, "echo WORDS" writes them, anything else
// returns 127.
func (f *Fake) Exec(ctx context.Context, uid, name string, cfg runtime.ExecConfig) (int, error) {
	if _, err := f.enter(ctx, false); err != nil {
		return 0, err
	}
	f.machine.mu.Lock()
	c, err := f.running(uid, name)
	hook := f.onExec
	f.machine.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("cannot run a program in container %q: %w", name, err)
	}
	if c == nil {
		return 0, fmt.Errorf("cannot run a program in container %q: it does not run: %w", name, runtime.ErrNotFound)
	}
	if hook != nil {
		return hook(ctx, uid, name, cfg)
	}
	switch code, ok := exitProgram(cfg.Command); {
	case ok:
		return code, nil
	case len(cfg.Command) > 0 && cfg.Command[0] == "echo":
		if cfg.Stdout != nil {
			if _, err := fmt.Fprintln(cfg.Stdout, strings.Join(cfg.Command[1:], " ")); err != nil {
				return 0, fmt.Errorf("cannot write output: %w", err)
			}
		}
		return 0, nil
	default:
		return 127, nil
	}
}

// Events implements runtime.Events.
func (f *Fake) Events(ctx context.Context, handle func(runtime.Event)) error {
	if _, err := f.enter(ctx, false); err != nil {
		return err
	}
	s := f.subscribe()
	defer f.unsubscribe(s)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			for _, uid := range s.take() {
				handle(runtime.Event{UID: uid})
			}
		}
	}
}
