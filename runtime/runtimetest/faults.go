package runtimetest

import (
	"context"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"

	"berth/runtime"
)

// OnStart is asked before each start of a container; an error fails it. It must not call the fake.
func (f *Fake) OnStart(hook func(uid string, cfg runtime.ContainerConfig) error) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.onStart = hook
}

// OnSandbox is asked before each new sandbox; an error fails it. It must not call the fake.
func (f *Fake) OnSandbox(hook func(cfg runtime.SandboxConfig) error) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.onSandbox = hook
}

// OnExec answers every program that is run inside a container; nil for the fake's own answers. It may block.
func (f *Fake) OnExec(hook func(ctx context.Context, uid, name string, cfg runtime.ExecConfig) (int, error)) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.onExec = hook
}

// Serve answers connections to a port of a pod, NAMESPACE/NAME, each in a goroutine of its own; nil refuses them again. It must close them.
func (f *Fake) Serve(pod, port string, serve func(net.Conn)) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.serving[pod+":"+port] = serve
}

// Exit ends a running container from inside, with an exit code. It reports whether the container ran.
func (f *Fake) Exit(uid, name string, code int) bool {
	return f.end(uid, name, code, 0, "")
}

// Crash ends a running container with SIGKILL from outside.
func (f *Fake) Crash(uid, name string) bool { return f.end(uid, name, 128+sigkill, sigkill, "") }

// OOM ends a running container as the kernel does that is short of memory.
func (f *Fake) OOM(uid, name string) bool {
	return f.end(uid, name, 128+sigkill, sigkill, runtime.ReasonOOMKilled)
}

func (f *Fake) end(uid, name string, code, signal int, reason string) bool {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	c, err := f.running(uid, name)
	if err != nil || c == nil {
		return false
	}
	c.end(f.clock.Now(), code, signal, reason, "")
	f.tell(uid)
	return true
}

// HaveIPv6 gives sandboxes made from now on an address of IPv6 as well, of fd99::/64.
func (f *Fake) HaveIPv6() {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.ipv6 = true
}

// LoseSandbox takes the namespaces away: every container ends, with an exit code nobody knows.
func (f *Fake) LoseSandbox(uid string) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	p := f.pods[uid]
	if p == nil {
		return
	}
	p.sandbox.Ready, p.sandbox.IP, p.sandbox.Address6 = false, "", netip.Addr{}
	for _, c := range p.containers {
		c.end(f.clock.Now(), runtime.UnknownExitCode, 0, runtime.ReasonUnknown, "")
	}
	f.tell(uid)
}

// Overflow tells every subscriber to look at everything again.
func (f *Fake) Overflow() {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.tell("")
}

// Reboot forgets every pod; images stay.
func (f *Fake) Reboot() {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	clear(f.pods)
}

// Calls returns every effect that was asked for, in order.
func (f *Fake) Calls() []string {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	return slices.Clone(f.calls)
}

// UIDs goes through the pods that the machine has, in no order, also through a dead handle. The loop must not call the fake.
func (f *Fake) UIDs() iter.Seq[string] {
	return func(yield func(string) bool) {
		f.machine.mu.Lock()
		defer f.machine.mu.Unlock()
		for uid := range f.pods {
			if !yield(uid) {
				return
			}
		}
	}
}

// Pods returns what the machine has, by UID, also through a dead handle.
func (f *Fake) Pods() []runtime.PodStatus {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	var list []runtime.PodStatus
	for _, uid := range slices.Sorted(maps.Keys(f.pods)) {
		list = append(list, f.pods[uid].status())
	}
	return list
}
