package cgroup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// testTree is a tree of the test's own; everything in it is killed and removed at the end, and nothing may be left.
func testTree(t *testing.T) *Tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes cgroups: run it as root (make root)")
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id)
	tree, err := Open(hex.EncodeToString(id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pods, err := tree.List()
		if err != nil {
			t.Error(err)
		}
		for uid := range pods {
			if err := tree.KillPod(uid); err != nil {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := tree.Remove(ctx); err != nil {
			t.Error(err)
		}
		if left := leftovers(t, tree); len(left) > 0 {
			t.Errorf("groups are left: %v", left)
		}
	})
	if err := tree.Ensure(); err != nil {
		t.Fatal(err)
	}
	return tree
}

// leftovers looks for the instance's name in every hierarchy, by itself.
func leftovers(t *testing.T, tree *Tree) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup/*/*"} {
		dirs, err := filepath.Glob(filepath.Join(pattern, tree.rootName()))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, dirs...)
	}
	return found
}

// run starts a shell script in a group, the way the spawner does: born in the v2 group, then "0" into the v1 task files.
func run(t *testing.T, g *Group, script string) *exec.Cmd {
	t.Helper()
	return start(t, g, exec.Command("sh", append([]string{"-c", `for f; do echo 0 >"$f" || exit 99; done; shift $#; ` + script, "sh"}, g.TaskFiles()...)...))
}

func start(t *testing.T, g *Group, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if dir := g.Dir(); dir != "" {
		fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func signalOf(err error) syscall.Signal {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.Sys().(syscall.WaitStatus).Signal()
	}
	return 0
}

func mustCreate(t *testing.T, tree *Tree, name string, res runtime.Resources, privileged bool) *Group {
	t.Helper()
	if err := tree.CreatePod("pod-1", 0); err != nil {
		t.Fatal(err)
	}
	g, err := tree.CreateContainer("pod-1", name, res, privileged)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func read(t *testing.T, elems ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elems...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func TestLimitsAreReadBack(t *testing.T) {
	tree := testTree(t)
	res := runtime.Resources{CPUShares: 512, CPUQuota: 50_000, MemoryLimit: 64 << 20}
	mustCreate(t, tree, "a", res, false)
	mustCreate(t, tree, "b", res, false)
	for controller, files := range map[string][2]map[string]string{
		"cpu": {
			{"cpu.shares": "512", "cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000", "../cpu.shares": "1024"},
			{"cpu.weight": "50", "cpu.max": "50000 100000", "../cpu.weight": "100"},
		},
		"memory": {
			{"memory.limit_in_bytes": "67108864"},
			{"memory.max": "67108864", "memory.oom.group": "1"},
		},
		"pids": {{"../pids.max": "4096"}, {"../pids.max": "4096"}},
	} {
		mount, v2 := tree.place(controller)
		if mount == "" {
			t.Errorf("controller %q is not available; warnings: %v", controller, tree.Warnings())
			continue
		}
		want := files[0]
		if v2 {
			want = files[1]
		}
		for file, value := range want {
			if got := read(t, tree.podDir(mount, "pod-1"), "a", "..", strings.TrimPrefix("a/"+file, "a/../")); got != value {
				t.Errorf("%s: got %q, want %q", file, got, value)
			}
		}
	}
}

func TestProcessIsInEveryGroup(t *testing.T) {
	tree := testTree(t)
	g := mustCreate(t, tree, "web", runtime.Resources{CPUShares: 100, MemoryLimit: 32 << 20}, false)
	other := mustCreate(t, tree, "free", runtime.Resources{}, false)
	for _, group := range []*Group{g, other} {
		cmd := run(t, group, "exec sleep 1000")
		if found, err := group.Pids(); err != nil || !cmp.Equal(found, []int{cmd.Process.Pid}) {
			t.Errorf("pids: got %v, %v, want [%d]", found, err, cmd.Process.Pid)
		}
		if populated, err := group.Populated(); err != nil || !populated {
			t.Errorf("populated: got %v, %v", populated, err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	var out strings.Builder
	script := `for f; do echo 0 >"$f" || exit 99; done; cat /proc/self/cgroup`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, g.TaskFiles()...)...)
	cmd.Stdout = &out
	if err := start(t, g, cmd).Wait(); err != nil {
		t.Fatal(err)
	}
	for controller, mount := range tree.h.v1 {
		want := tree.rootName() + "/"
		switch controller {
		case "cpu", "memory":
			want += "pods/pod-1/web"
		case "pids":
			want += "pods/pod-1"
		case "devices":
			want += "restricted"
		case "name=systemd":
			continue
		}
		if !strings.Contains(out.String(), controller+":/"+want+"\n") {
			t.Errorf("hierarchy %s: want %s in\n%s", mount, want, out.String())
		}
	}
	if tree.h.v2 != "" && !strings.Contains(out.String(), "0::/"+tree.rootName()+"/pods/pod-1/web\n") {
		t.Errorf("v2: not in its group:\n%s", out.String())
	}
}

func TestKillTakesEveryDescendant(t *testing.T) {
	kills := map[string]func(g *Group) error{
		"as this kernel can": (*Group).Kill,
		"one by one":         func(g *Group) error { return killEach(g.tracked()) },
		"the whole pod":      func(g *Group) error { return g.tree.KillPod(g.uid) },
	}
	for name, killGroup := range kills {
		t.Run(name, func(t *testing.T) {
			tree := testTree(t)
			g := mustCreate(t, tree, "web", runtime.Resources{}, false)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", append([]string{"-c", `for f; do echo 0 >"$f"; done; (setsid sleep 1000 & sleep 1000 & ); echo up; exec sleep 1000`, "sh"}, g.TaskFiles()...)...)
			cmd.Stdout = w
			start(t, g, cmd)
			w.Close()
			if _, err := r.Read(make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			if err := killGroup(g); err != nil {
				t.Fatal(err)
			}
			if got := signalOf(cmd.Wait()); got != syscall.SIGKILL {
				t.Errorf("first process: got signal %v", got)
			}
			if err := g.Remove(t.Context()); err != nil {
				t.Errorf("remove, waiting for the others: %v", err)
			}
		})
	}
}

func TestRemoveWaitsForTheLastProcess(t *testing.T) {
	tree := testTree(t)
	g := mustCreate(t, tree, "web", runtime.Resources{CPUShares: 2, MemoryLimit: 32 << 20}, true)
	cmd := run(t, g, "exec sleep 1000")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := g.Remove(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Fatalf("remove of a living group: got %v, want a time-out that names process %d", err, cmd.Process.Pid)
	}
	removed := make(chan error)
	go func() { removed <- g.Remove(t.Context()) }()
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(t.Context()); err != nil {
		t.Errorf("removing again: %v", err)
	}
	if err := errors.Join(g.Kill(), tree.KillPod("never")); err != nil {
		t.Errorf("killing what is not there: %v", err)
	}
}

func TestAFreshAttemptIsFresh(t *testing.T) {
	tree := testTree(t)
	res := runtime.Resources{MemoryLimit: 32 << 20}
	g := mustCreate(t, tree, "web", res, false)
	cmd := run(t, g, "exec sleep 1000")
	if _, err := tree.CreateContainer("pod-1", "web", res, false); !errors.Is(err, unix.EBUSY) {
		t.Errorf("on a living one: got %v, want EBUSY", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := tree.CreateContainer("pod-1", "web", runtime.Resources{MemoryLimit: 48 << 20}, false); err != nil {
		t.Errorf("on an ended one: %v", err)
	}
}

func TestOOMKillIsCounted(t *testing.T) {
	tree := testTree(t)
	g := mustCreate(t, tree, "hog", runtime.Resources{MemoryLimit: 16 << 20}, false)
	if n, err := g.OOMKills(); n != 0 || err != nil {
		t.Fatalf("before: got %d, %v", n, err)
	}
	err := run(t, g, "exec tail /dev/zero").Wait()
	if got := signalOf(err); got != syscall.SIGKILL {
		t.Fatalf("hog: got %v, want SIGKILL", err)
	}
	if n, err := g.OOMKills(); n == 0 || err != nil {
		t.Errorf("after: got %d, %v", n, err)
	}
}

func TestForkBombIsStopped(t *testing.T) {
	tree := testTree(t)
	if err := tree.CreatePod("pod-1", 20); err != nil {
		t.Fatal(err)
	}
	g, err := tree.CreateContainer("pod-1", "bomb", runtime.Resources{}, false)
	if err != nil {
		t.Fatal(err)
	}
	cmd := run(t, g, "while :; do sleep 1000 & done 2>/dev/null")
	_ = cmd.Wait() // the shell gives up at its first failed fork
	found, err := g.Pids()
	if err != nil || len(found) < 10 || len(found) > 20 {
		t.Errorf("got %d processes, %v, want the limit of 20 to hold", len(found), err)
	}
}

func TestDevices(t *testing.T) {
	tree := testTree(t)
	dir := t.TempDir()
	script := fmt.Sprintf(`cd %s && rm -f mem null
		head -c1 /dev/zero >/dev/null || exit 1
		mknod null c 1 3 || exit 2
		mknod mem c 1 1 && exit 3
		(: </dev/kmsg) && exit 4
		exit 0`, dir)
	g := mustCreate(t, tree, "web", runtime.Resources{}, false)
	if err := run(t, g, script+" 2>/dev/null").Wait(); err != nil {
		t.Errorf("restricted container: %v", err)
	}
	g = mustCreate(t, tree, "root", runtime.Resources{}, true)
	if err := run(t, g, fmt.Sprintf("cd %s && mknod mem c 1 1", dir)).Wait(); err != nil {
		t.Errorf("privileged container: %v", err)
	}
}

func TestDeviceProgramIsAcceptedAndDecides(t *testing.T) {
	tree := testTree(t)
	if tree.h.v2 == "" {
		t.Skip("no v2 tree is mounted")
	}
	g := mustCreate(t, tree, "web", runtime.Resources{}, true)
	devices := tree.h.v1["devices"]
	delete(tree.h.v1, "devices")
	err := tree.restrictDevices(g.Dir())
	if devices != "" {
		tree.h.v1["devices"] = devices
	}
	if err != nil || strings.Contains(fmt.Sprint(tree.Warnings()), "device rules") {
		t.Fatalf("got %v, warnings %v", err, tree.Warnings())
	}
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		major, minor int
		allowed      bool
	}{
		"null": {1, 3, true}, "urandom": {1, 9, true}, "ptmx": {5, 2, true}, "pts": {136, 77, true}, "tty": {5, 0, true},
		"mem": {1, 1, false}, "kmsg": {1, 11, false}, "console": {5, 1, false}, "tun": {10, 200, false},
	} {
		err := run(t, g, fmt.Sprintf("mknod %s/%s c %d %d 2>/dev/null", dir, name, tt.major, tt.minor)).Wait()
		if (err == nil) != tt.allowed {
			t.Errorf("mknod %s: got %v, want allowed %v", name, err, tt.allowed)
		}
	}
	if err := run(t, g, fmt.Sprintf("mknod %s/disk b 8 0 2>/dev/null", dir)).Wait(); err == nil {
		t.Error("a block device was made")
	}
}

func TestListAndNames(t *testing.T) {
	tree := testTree(t)
	mustCreate(t, tree, "tasks", runtime.Resources{CPUShares: 2}, false)
	mustCreate(t, tree, "a", runtime.Resources{}, false)
	if err := tree.CreatePod("pod-2", 5); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"pod-1": {"a", "tasks"}, "pod-2": nil}
	got, err := tree.List()
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("list: %v (-want +got):\n%s", err, cmp.Diff(want, got))
	}
	if err := tree.RemovePod(t.Context(), "pod-1"); err != nil {
		t.Error(err)
	}
	delete(want, "pod-1")
	if got, err = tree.List(); err != nil || !cmp.Equal(got, want) {
		t.Errorf("list: %v (-want +got):\n%s", err, cmp.Diff(want, got))
	}
	for _, bad := range []string{"", "..", "a/b", "../x", "A", "a.b", strings.Repeat("x", 65)} {
		if err := tree.CreatePod(bad, 0); err == nil {
			t.Errorf("uid %q is accepted", bad)
		}
		if _, err := tree.CreateContainer("pod-2", bad, runtime.Resources{}, false); err == nil {
			t.Errorf("name %q is accepted", bad)
		}
	}
}

// TestControllerThatCannotBeEnabled plays a machine whose v2 tree promises a controller and does not hand it down.
func TestControllerThatCannotBeEnabled(t *testing.T) {
	tree := testTree(t)
	if tree.h.v2 == "" {
		t.Skip("no v2 tree is mounted")
	}
	if memory, ok := tree.h.v1["memory"]; ok {
		delete(tree.h.v1, "memory")
		t.Cleanup(func() { tree.h.v1["memory"] = memory })
	}
	tree.v2Controllers = []string{"memory"}
	mustCreate(t, tree, "web", runtime.Resources{MemoryLimit: 32 << 20}, false)
	if _, v2 := tree.place("memory"); v2 == (len(tree.Warnings()) > 0) {
		t.Errorf("memory on v2: %v, warnings: %v", v2, tree.Warnings())
	}
}

// Programs find the hierarchies that they look for, in a group that takes them in and that goes with the instance.
func TestShownHierarchies(t *testing.T) {
	tree := testTree(t)
	if len(tree.h.shown) == 0 {
		t.Skip("this machine has no v1 cpuset and cpuacct")
	}
	if err := tree.CreatePod("pod", 0); err != nil {
		t.Fatal(err)
	}
	g, err := tree.CreateContainer("pod", "main", runtime.Resources{}, false)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", `for f; do echo 0 >"$f" || exit 99; done; cat /proc/self/cgroup`, "sh"}, g.TaskFiles()...)...)
	var text strings.Builder
	cmd.Stdout = &text
	if err := start(t, g, cmd).Wait(); err != nil {
		t.Fatal(err)
	}
	for controller := range tree.h.shown {
		if !strings.Contains(text.String(), ":"+controller+":/"+tree.rootName()+"/pods\n") {
			t.Errorf("%s: the container is in\n%s", controller, text.String())
		}
	}
	if _, ok := tree.h.shown["cpuset"]; ok && tree.shownDirs() == nil {
		t.Error("no group in cpuset")
	}
}
