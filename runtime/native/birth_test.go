package native

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"berth/runtime"
)

// held is whether the keeper holds the namespaces of the pod.
func (m *machine) held(t *testing.T) bool {
	t.Helper()
	state, err := m.client().List(t.Context())
	must(t, err)
	return len(state.Sandboxes) == 1
}

func (m *machine) netns(t *testing.T, cfg runtime.ContainerConfig) string {
	t.Helper()
	st, err := m.StartContainer(t.Context(), "pod", cfg)
	must(t, err)
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", st.PID))
	must(t, err)
	return ns
}

func (m *machine) ready(t *testing.T) bool {
	t.Helper()
	st, err := m.Status(t.Context(), "pod")
	must(t, err)
	return st.Sandbox.Ready
}

func sleeping(name string, attempt uint32) runtime.ContainerConfig {
	cfg := script("sleep 1000")
	cfg.Name, cfg.Attempt = name, attempt
	return cfg
}

// The namespaces of a pod come with its first container and stay for the others, whatever dies between.
func TestNamespacesComeWithTheFirstContainer(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	if m.held(t) {
		t.Error("namespaces before there is a container")
	}
	m.reopen(t)
	m.killKeeper(t)
	if !m.ready(t) {
		t.Fatal("the sandbox was lost with a keeper that did not hold it yet")
	}
	missing := sleeping("main", 0)
	missing.Command = []string{"/no/such"}
	if st, err := m.StartContainer(t.Context(), "pod", missing); err == nil || st.State != runtime.Exited {
		t.Errorf("StartContainer = %+v, %v", st, err)
	}
	m.reopen(t)
	if m.held(t) || !m.ready(t) {
		t.Errorf("after a start that failed: held %v, ready %v", m.held(t), m.ready(t))
	}
	first := m.netns(t, sleeping("main", 1))
	if second := m.netns(t, sleeping("other", 0)); second != first || !m.held(t) {
		t.Errorf("the containers are in %s and %s", first, second)
	}
	must(t, m.KillContainer(t.Context(), "pod", "main"))
	m.awaitEnd(t, "main", 1)
	m.reopen(t)
	if third := m.netns(t, sleeping("main", 2)); third != first {
		t.Errorf("the next attempt is in %s instead of %s", third, first)
	}
	for _, name := range []string{"main", "other"} {
		must(t, m.KillContainer(t.Context(), "pod", name))
	}
	m.awaitEnd(t, "main", 2)
	m.awaitEnd(t, "other", 0)
	m.killKeeper(t)
	if m.ready(t) {
		t.Error("the sandbox outlived all that held its namespaces")
	}
}

// broken is a network that nothing can be attached to while it is.
type broken struct {
	addresses
	err error
}

func (b *broken) Attach(context.Context, *os.File, string, netip.Addr, netip.Addr) error {
	return b.err
}

// What fails with the namespaces is the sandbox, not the container: the next sandbox says why.
func TestStillborn(t *testing.T) {
	cable := errors.New("no cable")
	sysctl := runtime.SandboxConfig{UID: "pod", Sysctls: map[string]string{"net.core.nosuch": "1"}}
	for name, tt := range map[string]struct {
		network *broken
		config  runtime.SandboxConfig
	}{
		"network": {&broken{err: cable}, runtime.SandboxConfig{UID: "pod"}},
		"sysctl":  {&broken{}, sysctl},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			must(t, m.Close())
			m.opts.Network = tt.network
			m.open(t)
			m.sandbox(t, tt.config)
			if _, err := m.StartContainer(t.Context(), "pod", sleeping("main", 0)); !errors.Is(err, runtime.ErrSandboxGone) {
				t.Errorf("StartContainer = %v", err)
			}
			st, err := m.Status(t.Context(), "pod")
			if err != nil || st.Sandbox.Ready || len(st.Containers) != 0 || m.held(t) {
				t.Errorf("left: %+v, %v", st, err)
			}
			if _, err := m.RunSandbox(t.Context(), tt.config); err == nil || errors.Is(err, runtime.ErrSandboxGone) {
				t.Errorf("RunSandbox = %v", err)
			}
			tt.network.err, tt.config.Sysctls = nil, nil
			m.sandbox(t, tt.config)
			m.netns(t, sleeping("main", 0))
		})
	}
}
