package native

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"berth/runtime"
)

// What a pod writes is found where it was written, and goes with an emptied sandbox; its log stays.
func TestDiskUsage(t *testing.T) {
	m := newMachine(t)
	if _, err := m.DiskUsage(t.Context(), "pod"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("of no pod: %v", err)
	}
	m.sandbox(t, runtime.SandboxConfig{UID: "pod", Volumes: []runtime.Volume{
		{Name: "disk", EmptyDir: &runtime.EmptyDir{}}, {Name: "memory", EmptyDir: &runtime.EmptyDir{Memory: true}},
	}})
	const mi = 1 << 20
	cfg := script("fill() { head -c $1 /dev/zero > $2; }; fill 2097152 /own; fill 1048576 /dev/termination-log; fill 4194304 /disk/file; fill 8388608 /memory/file; head -c 1048576 /dev/zero | tr '\\0' x; echo; echo filled; sleep 1000")
	cfg.TerminationMessagePath = "/dev/termination-log"
	cfg.Mounts = []runtime.Mount{{Volume: "disk", Path: "/disk"}, {Volume: "memory", Path: "/memory"}}
	c, err := m.StartContainer(t.Context(), "pod", cfg)
	must(t, err)
	m.awaitLog(t, c.LogPath, "filled")
	u, err := m.DiskUsage(t.Context(), "pod")
	must(t, err)
	about := func(what string, got, want int64) {
		t.Helper()
		if got < want || got > want+mi/4 {
			t.Errorf("%s: %d bytes, want some %d", what, got, want)
		}
	}
	about("the container", u.Containers["main"], 4*mi)
	about("the volume", u.Volumes["disk"], 4*mi)
	about("the pod", u.Total(), 8*mi)
	if len(u.Volumes) != 1 {
		t.Errorf("volumes %v", u.Volumes)
	}
	must(t, m.KillContainer(t.Context(), "pod", "main"))
	m.awaitEnd(t, "main", 0)
	must(t, m.StopSandbox(t.Context(), "pod", true))
	u, err = m.DiskUsage(t.Context(), "pod")
	must(t, err)
	about("the container that is emptied", u.Containers["main"], mi)
	about("the pod that is emptied", u.Total(), mi)
	if _, err := os.Stat(filepath.Join(m.dirs.volumes("pod"), "disk")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the volume is there: %v", err)
	}
	m.awaitLog(t, c.LogPath, "filled")
	m.reopen(t)
	if p, err := m.Status(t.Context(), "pod"); err != nil || len(p.Containers) != 1 || p.Containers[0].State != runtime.Exited {
		t.Errorf("a new controller finds %+v, %v", p, err)
	}
}
