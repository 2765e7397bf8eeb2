package native

import (
	"os"
	"syscall"
	"testing"

	"berth/runtime"
)

// killKeeper kills the keeper and waits until another serves.
func (m *machine) killKeeper(t *testing.T) {
	t.Helper()
	old := m.client()
	if err := syscall.Kill(old.Info().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.await(t, func(runtime.PodStatus) (runtime.ContainerStatus, bool) {
		return runtime.ContainerStatus{}, m.client() != old
	})
}

func TestKeeperIsReplaced(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	st, err := m.StartContainer(t.Context(), "pod", script("echo before; while [ ! -e /stop ]; do usleep 10000; done; echo after; exit 5"))
	if err != nil {
		t.Fatal(err)
	}
	m.killKeeper(t)
	p := m.await(t, func(p runtime.PodStatus) (runtime.ContainerStatus, bool) {
		return p.Containers[0], p.Sandbox.Ready
	})
	if p.State != runtime.Running || p.PID != st.PID {
		t.Fatalf("after the keeper's death the container is %+v, want pid %d", p, st.PID)
	}
	// The container may end, and take this process along, before it has ended itself.
	code, err := m.Exec(t.Context(), "pod", "main", runtime.ExecConfig{Command: []string{"touch", "/stop"}})
	if err != nil || code != 0 && code != 128+int(syscall.SIGKILL) {
		t.Fatalf("Exec after the keeper's death = %d, %v", code, err)
	}
	end := m.awaitEnd(t, "main", 0)
	// From Linux 6.15 on the kernel keeps the exit code of a process that is not one's own.
	if end.ExitCode != 5 && end.Reason != runtime.ReasonUnknown {
		t.Errorf("the container ended as %+v", end)
	}
	if got := logText(t, st.LogPath); got != "before\nafter\n" {
		t.Errorf("log %q", got)
	}
}

func TestKeeperDiesWithItsPods(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	out, _ := m.output(t, script("echo one"))
	m.killKeeper(t)
	// No process holds the namespaces any more: the sandbox is gone, and is made again as the next attempt.
	m.await(t, func(p runtime.PodStatus) (runtime.ContainerStatus, bool) {
		return runtime.ContainerStatus{}, !p.Sandbox.Ready
	})
	if _, err := m.StartContainer(t.Context(), "pod", runtime.ContainerConfig{Name: "main", Attempt: 1, Image: testImage}); err == nil {
		t.Error("a container was started without a sandbox")
	}
	st, err := m.RunSandbox(t.Context(), runtime.SandboxConfig{UID: "pod", Namespace: "default", Name: "web", Hostname: "web"})
	if err != nil || !st.Ready || st.Attempt != 1 {
		t.Fatalf("RunSandbox = %+v, %v", st, err)
	}
	cfg := script("echo two")
	cfg.Attempt = 1
	again, _ := m.output(t, cfg)
	if out+again != "one\ntwo\n" {
		t.Errorf("output %q, then %q", out, again)
	}
}

// A controller dies between the record and the deed, or between the deed and its confirmation.
func TestHalfMade(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	st, err := m.StartContainer(t.Context(), "pod", script("sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	p := m.pod("pod")
	// The start of "main" was never confirmed; "ghost" was recorded and nothing more; "gone" is a pod of which only the record exists.
	rec := p.containers[0].containerRecord
	rec.State, rec.PID, rec.StartTicks = runtime.Created, 0, 0
	must(t, writeRecord(m.dirs.record("pod", "main.0"), rec))
	rec.Config.Name = "ghost"
	must(t, writeRecord(m.dirs.record("pod", "ghost.0"), rec))
	must(t, makeDirs(m.dirs.container("pod", "ghost.0"), m.dirs.runPod("gone"), m.dirs.container("stray", "x.0"), m.dirs.volumes("stray")))
	must(t, writeRecord(m.dirs.sandbox("gone"), sandboxRecord{Config: runtime.SandboxConfig{UID: "gone"}}))
	must(t, m.cgroups.CreatePod("stray", 0))
	must(t, os.WriteFile(m.dirs.sandbox("pod")+tempSuffix, []byte("{"), 0o600))
	m.reopen(t)
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 || len(list[0].Containers) != 1 {
		t.Fatalf("after the crash there is %+v, %v", list, err)
	}
	if c := list[0].Containers[0]; c.State != runtime.Running || c.PID != st.PID {
		t.Errorf("the container is %+v, want pid %d", c, st.PID)
	}
	groups, err := m.cgroups.List()
	if err != nil || len(groups) != 1 {
		t.Errorf("groups %v, %v", groups, err)
	}
	for _, dir := range []string{m.dirs.runPod("gone"), m.dirs.podLayers("stray"), m.dirs.statePod("stray"), m.dirs.container("pod", "ghost.0"), m.dirs.sandbox("pod") + tempSuffix} {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

// A record that nobody can read must not keep the rest from starting, nor leave its processes behind.
func TestDamagedRecords(t *testing.T) {
	m := newMachine(t)
	m.opts.Report = func(err error) { t.Logf("reported: %v", err) }
	m.sandbox(t, runtime.SandboxConfig{})
	m.sandbox(t, runtime.SandboxConfig{UID: "other"})
	for _, uid := range []string{"pod", "other"} {
		if _, err := m.StartContainer(t.Context(), uid, script("sleep 1000")); err != nil {
			t.Fatal(err)
		}
	}
	must(t, os.WriteFile(m.dirs.sandbox("pod"), []byte("{\"Config\":"), 0o600))
	must(t, os.WriteFile(m.dirs.record("other", "main.0"), nil, 0o600))
	m.reopen(t)
	list, err := m.List(t.Context())
	if err != nil || len(list) != 1 || list[0].UID != "other" || len(list[0].Containers) != 0 {
		t.Errorf("after the damage there is %+v, %v", list, err)
	}
	if pids, err := m.cgroups.Group("other", "main").Pids(); err == nil && len(pids) > 0 {
		t.Errorf("processes without a record are left: %v", pids)
	}
}

func TestOtherBoot(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	must(t, os.WriteFile(m.dirs.bootID(), []byte("another"), 0o600))
	m.reopen(t)
	if list, err := m.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("pods of another boot: %+v, %v", list, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
