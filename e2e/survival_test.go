package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// The controller is killed: no container notices, what they wrote and how they ended meanwhile is known afterwards.
func TestControllerKilled(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 5, run("web")).String())
	b.Write("count.yaml", pod("count", run("count", "10")).String())
	ends := pod("ends", shell("echo before; while ! [ -e /h/go ]; do sleep 0.05; done; echo meanwhile; exit 9")+", volumeMounts: [{name: h, mountPath: /h}]")
	ends.pod = fmt.Sprintf("restartPolicy: Never, volumes: [{name: h, hostPath: {path: %q}}]", b.Manifests)
	b.Write("ends.yaml", ends.String())
	up := b.Up()
	pids := harness.PIDs(b.UntilReady("web-", 5))
	maps.Copy(pids, harness.PIDs([]harness.Pod{b.UntilPod("count", "to run", running)}))
	b.UntilPod("ends", "to run", running)
	logHas(b, "ends", "before")

	up.Kill()
	if err := os.WriteFile(filepath.Join(b.Manifests, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.For(500*time.Millisecond, "the containers without controller", func() error {
		for name, pid := range pids {
			if !harness.Running(pid) {
				return fmt.Errorf("%s has ended", name)
			}
		}
		return nil
	})
	// A wish that was changed while nobody looked.
	b.Write("web.yaml", deployment("web", 6, run("web")).String())

	start := time.Now()
	b.Up()
	pods := b.UntilReady("web-", 6)
	t.Logf("adopted and scaled after %v", time.Since(start))
	now := harness.PIDs(pods)
	now["count/main"] = b.UntilPod("count", "to run", running).Container("main").PID
	for name, pid := range pids {
		if now[name] != pid {
			t.Errorf("%s was process %d and is %d", name, pid, now[name])
		}
	}
	b.UntilPod("ends", "its exit code", func(p harness.Pod) error {
		if c := p.Container("main"); p.Phase != "Failed" || c.ExitCode != 9 || c.Restarts != 0 {
			return fmt.Errorf("%+v", p)
		}
		return nil
	})
	if log := b.Must("logs", "ends"); log != "before\nmeanwhile\n" {
		t.Errorf("log %q", log)
	}
	wholeLog(t, b, "count")
}

// wholeLog wants the numbered lines of a log without a gap or repetition.
func wholeLog(t *testing.T, b *harness.Berth, pod string) {
	t.Helper()
	want := 0
	for line := range strings.Lines(b.Must("logs", pod)) {
		n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "line ")))
		if err != nil || n != want {
			t.Fatalf("log line %d of %s is %q", want, pod, line)
		}
		want++
	}
	if want == 0 {
		t.Errorf("the log of %s is empty", pod)
	}
}

// The keeper is killed: containers go on, a new keeper takes them back, and what they write is kept.
func TestKeeperKilled(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 3, run("web")).String())
	b.Write("count.yaml", pod("count", run("count", "10")).String())
	b.Up()
	pids := harness.PIDs(b.UntilReady("web-", 3))
	count := b.UntilPod("count", "to run", running).Container("main").PID
	logHas(b, "count", "line 20\n")
	old := b.Keeper()
	b.KillKeeper()
	b.Until("a new keeper", func() error {
		if k := b.Keeper(); k == 0 || k == old {
			return fmt.Errorf("keeper %d", k)
		}
		return nil
	})
	b.UntilReady("web-", 3)
	if err := samePIDs(b, "web-", pids)(); err != nil {
		t.Error(err)
	}
	logHas(b, "count", "line 200\n")
	if !harness.Running(count) {
		t.Error("the counting container has ended")
	}
	wholeLog(t, b, "count")
	// The new keeper starts, watches and ends containers as the old one did.
	victim := b.UntilReady("web-", 3)[0].Container("main").PID
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.Until("the killed one to be replaced", func() error {
		s, err := b.Look()
		if err != nil {
			return err
		}
		for _, p := range s.PodsOf("web-") {
			if pid := p.Container("main").PID; !p.Ready || pid == victim || !harness.Running(pid) {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
	b.Write("web.yaml", deployment("web", 0, run("web")).String())
	gone(b, "web-", pids)
}

// Both are killed at once.
func TestBothKilled(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 3, run("web")).String())
	up := b.Up()
	pids := harness.PIDs(b.UntilReady("web-", 3))
	b.KillKeeper()
	up.Kill()
	b.Up()
	b.UntilReady("web-", 3)
	if err := samePIDs(b, "web-", pids)(); err != nil {
		t.Error(err)
	}
	b.Write("web.yaml", deployment("web", 1, run("web")).String())
	b.UntilReady("web-", 1)
}

// `up --replace` takes over; without it a second one is refused, with the pid of the first.
func TestReplaceAndRefuse(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 2, run("web")).String())
	first := b.Up()
	pids := harness.PIDs(b.UntilReady("web-", 2))
	r := b.CLI("up", b.Manifests)
	if r.Code != 1 || !strings.Contains(r.Stderr+r.Stdout, strconv.Itoa(first.PID())) {
		t.Errorf("a second one: exit code %d, %s%s; the first is %d", r.Code, r.Stdout, r.Stderr, first.PID())
	}
	// Neither may one with a state directory of its own and this run directory: it would take over what runs.
	for _, arg := range []string{"--replace", "--replace=false"} {
		cmd := b.Command("up", b.Manifests, "--once", arg)
		cmd.Args = append(cmd.Args, "--state-dir", t.TempDir())
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), fmt.Sprintf("as process %d", first.PID())) {
			t.Errorf("one with another state directory, %s: %v, %s; the first is %d", arg, err, out, first.PID())
		}
	}
	if first.Ended() {
		t.Fatal("the first one ended because of the second")
	}
	b.StartUp("--replace")
	if code := first.Wait(harness.Patience); code != 0 {
		t.Errorf("the replaced one ended with %d: %s", code, first.Output())
	}
	b.Write("web.yaml", deployment("web", 3, run("web")).String())
	now := harness.PIDs(b.UntilReady("web-", 3))
	for name, pid := range pids {
		if now[name] != pid {
			t.Errorf("%s was process %d and is %d", name, pid, now[name])
		}
	}
}

// SIGTERM and SIGINT end `up` soon and leave everything running; it says how to take it down.
func TestEndingUpLeavesThePods(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			b := harness.New(t)
			b.Load(images.Tool)
			b.Write("web.yaml", deployment("web", 2, run("web")).String())
			up := b.Up()
			pids := harness.PIDs(b.UntilReady("web-", 2))
			up.Signal(s)
			if code := up.Wait(harness.Patience); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(up.Output(), "berth down") {
				t.Errorf("no word of how to take it down:\n%s", up.Output())
			}
			for name, pid := range pids {
				if !harness.Running(pid) {
					t.Errorf("%s has ended", name)
				}
			}
			if out := b.Must("status"); !strings.Contains(out, "web") {
				t.Errorf("status without a controller:\n%s", out)
			}
		})
	}
}

// `up --once` makes it true, reports, and leaves it running.
func TestOnce(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 2, run("web")).String())
	up := b.StartUp("--once")
	if code := up.Wait(harness.Patience); code != 0 {
		t.Fatalf("exit code %d: %s", code, up.Output())
	}
	if r := b.CLI("plan", b.Manifests); r.Code != 0 {
		t.Errorf("plan after it: exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	b.Write("bad.yaml", pod("bad", run("exit", "1")).String())
	if r := b.CLI("plan", b.Manifests); r.Code != 2 || !strings.Contains(r.Stdout, "bad") {
		t.Errorf("plan with a change: exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// Everything is gone after `down`, also when nothing runs, and also twice.
func TestDown(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Must("down")
	b.Write("web.yaml", deployment("web", 10, run("web")).String())
	up := b.Up()
	b.UntilReady("web-", 10)
	b.Must("down")
	if code := up.Wait(harness.Patience); code != 0 {
		t.Errorf("up ended with %d: %s", code, up.Output())
	}
	if k := b.Keeper(); k != 0 {
		t.Errorf("keeper %d runs", k)
	}
	b.CheckLeaks()
	b.Must("down")
	if list := b.Must("image", "ls"); !strings.Contains(list, "e2e/tool") {
		t.Error("the images are gone too")
	}
	b.Up()
	b.UntilReady("web-", 10)
}

// Somebody has emptied the run directory: nobody can speak to the keeper any more, and it goes all the same.
func TestDownWithoutTheRunDirectory(t *testing.T) {
	downWithout(t, func(b *harness.Berth) string { return b.Run })
}

// Somebody has emptied the state directory: what runs is known by the run directory.
func TestDownWithoutTheStateDirectory(t *testing.T) {
	downWithout(t, func(b *harness.Berth) string { return b.State })
}

// downWithout wants everything gone after `down`, though nobody thinks any more and one of the instance's directories is lost.
func downWithout(t *testing.T, lost func(*harness.Berth) string) {
	t.Helper()
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 2, run("web")).String())
	up := b.Up()
	b.UntilReady("web-", 2)
	up.Kill()
	if err := os.RemoveAll(lost(b)); err != nil {
		t.Fatal(err)
	}
	b.Must("down")
	if k := b.Keeper(); k != 0 {
		t.Errorf("keeper %d runs", k)
	}
	b.CheckLeaks()
}

// After a reboot nothing of the run directory is true any more, whether it is still there or not; everything comes back.
func TestReboot(t *testing.T) {
	if os.Getenv("BERTH_E2E_ISOLATE") == "0" {
		t.Skip("the boot id of this machine cannot be changed without a mount namespace of the test's own")
	}
	for _, lost := range []bool{true, false} {
		t.Run(fmt.Sprintf("run directory lost %v", lost), func(t *testing.T) {
			b := harness.New(t)
			b.Load(images.Tool)
			b.Write("web.yaml", deployment("web", 3, run("web")).String())
			up := b.Up()
			old := harness.PIDs(b.UntilReady("web-", 3))
			up.Kill()
			powerOff(t, b)
			if lost {
				if err := os.RemoveAll(b.Run); err != nil {
					t.Fatal(err)
				}
			}
			undo := newBootID(t)
			defer undo()
			b.Up()
			now := harness.PIDs(b.UntilReady("web-", 3))
			for name, pid := range now {
				if !harness.Running(pid) || old[name] == pid {
					t.Errorf("%s is process %d, was %d", name, pid, old[name])
				}
			}
			b.Must("down")
		})
	}
}

// powerOff does to an instance what a power cut does: processes, cgroups and links are gone, files stay.
func powerOff(t *testing.T, b *harness.Berth) {
	t.Helper()
	id := b.InstanceID()
	if id == "" {
		t.Fatal("the instance has no id")
	}
	b.KillKeeper()
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/berth-" + id)
	if own, _ := filepath.Glob("/sys/fs/cgroup/berth-" + id); own != nil {
		groups = append(groups, own...)
	}
	if len(groups) == 0 {
		t.Fatalf("no cgroup is called berth-%s", id)
	}
	b.Until("its cgroups to be gone", func() error {
		for _, g := range groups {
			if err := emptyCgroup(g); err != nil {
				return err
			}
		}
		return nil
	})
	removeLinks(t, id)
}

// newBootID hides the kernel's boot id behind another.
func newBootID(t *testing.T) (undo func()) {
	t.Helper()
	const path = "/proc/sys/kernel/random/boot_id"
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fake := filepath.Join(t.TempDir(), "boot_id")
	id := regexp.MustCompile(`^[0-9a-f]{8}`).ReplaceAllString(string(old), fmt.Sprintf("%08x", time.Now().UnixNano()&0xffffffff))
	if err := os.WriteFile(fake, []byte(id), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(fake, path, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	return func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) }
}
