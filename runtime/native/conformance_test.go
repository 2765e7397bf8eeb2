package native

import (
	"context"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"berth/runtime"
	"berth/runtime/runtimetest"
)

// addresses gives out addresses and attaches nothing: the network is another package's.
type addresses struct {
	mu   sync.Mutex
	last byte
	of   map[string]netip.Addr
}

func (a *addresses) Allocate(uid string) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if addr, ok := a.of[uid]; ok {
		return addr, nil
	}
	if a.of == nil {
		a.of = map[string]netip.Addr{}
	}
	a.last++
	a.of[uid] = netip.AddrFrom4([4]byte{10, 0, 0, a.last})
	return a.of[uid], nil
}

func (a *addresses) Reserve(uid string, addr netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[string]netip.Addr{}
	}
	a.of[uid] = addr
	return nil
}

func (a *addresses) Release(uid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, uid)
}

func (a *addresses) Address6(addr netip.Addr) netip.Addr {
	b := addr.As4()
	return netip.AddrFrom16([16]byte{0xfd, 15: b[3]})
}

func (a *addresses) Attach(context.Context, *os.File, string, netip.Addr, netip.Addr) error {
	return nil
}

func (a *addresses) Rejoin(context.Context) error { return nil }

// pulled has every image already.
type pulled struct{ imageMap }

func (p pulled) Pull(ctx context.Context, ref string, _ runtime.PullOptions) (runtime.Image, error) {
	return p.Image(ctx, ref)
}

// readied returns from starts only when a program that says so has set its signal handlers: to the first process of a pid namespace a
// signal without a handler does nothing.
type readied struct{ *machine }

func (r readied) StartContainer(ctx context.Context, uid string, cfg runtime.ContainerConfig) (runtime.ContainerStatus, error) {
	st, err := r.machine.StartContainer(ctx, uid, cfg)
	if err == nil && strings.Contains(strings.Join(cfg.Command, " "), "echo ready") {
		r.awaitLog(r.t, st.LogPath, "ready")
	}
	return st, err
}

func TestConformance(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Machine {
		t.Helper()
		return newMachine(t).contract()
	})
}

func (m *machine) contract() runtimetest.Machine {
	return runtimetest.Machine{
		Pods: m, Containers: readied{m}, Executor: m, Dialer: m, Events: m, Images: pulled{m.images}, Volumes: m,
		Reopen: func(t *testing.T) runtimetest.Machine {
			t.Helper()
			m.reopen(t)
			return m.contract()
		},
		Image: testImage, Sleep: []string{"sh", "-c", "trap 'exit 0' TERM; echo ready; sleep 1000 & wait"},
		Stubborn: []string{"sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"},
		Exit:     func(code int) []string { return []string{"sh", "-c", "exit " + strconv.Itoa(code)} },
		Echo:     func(text string) []string { return []string{"echo", text} },
	}
}

// reopen is a new controller on the same machine.
func (m *machine) reopen(t testing.TB) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m.opts.Network = &addresses{}
	m.open(t)
}
