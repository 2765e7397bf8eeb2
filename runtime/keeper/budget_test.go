package keeper_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
)

// TestHookComesEarly counts the packages that are initialised before the keeper takes over. The test binary links fmt, net and reflect: a
// dependency of the keeper on any of them shows.
func TestHookComesEarly(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "keeper", "--probe")
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	var trace strings.Builder
	cmd.Stderr = &trace
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "berth-keeper-state ") {
		t.Fatalf("probe: %q, %v", out, err)
	}
	inits := 0
	for line := range strings.Lines(trace.String()) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "init" {
			continue
		}
		inits++
		for _, heavy := range []string{"fmt", "net", "net/netip", "testing", "golang.org/x/sys/unix", "os/exec"} {
			if f[1] == heavy {
				t.Errorf("%s is initialised before the keeper", heavy)
			}
		}
	}
	// 24 with Go 1.26: the standard packages below os and encoding/binary.
	if inits == 0 || inits > 30 {
		t.Errorf("%d inits before the keeper:\n%s", inits, trace.String())
	}
}

// TestMemory holds the budget: 3 MB of its own with 300 containers.
func TestMemory(t *testing.T) {
	w := newWorld(t)
	if testing.Short() {
		t.Skip("starts 300 processes")
	}
	t.Logf("%d KiB with none", w.privateKiB())
	for i := range 300 {
		r := w.request("m/"+strconv.Itoa(i), "")
		var b program.Builder
		stdio(&b)
		execute(&b, "/bin/sleep", "1000")
		r.Program, r.ExitPath = &b, ""
		w.run(r)
	}
	private := w.privateKiB()
	t.Logf("%d KiB with 300 containers", private)
	if private > 3<<10 {
		t.Errorf("%d KiB of its own", private)
	}
}

// privateKiB is the memory that is the keeper's alone. Pages of a binary just written count as shared dirty ones: they are the file's.
func (w *world) privateKiB() int {
	w.t.Helper()
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", w.c.Info().PID))
	if err != nil {
		w.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(p), "Private_Dirty:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// BenchmarkStart is from the request until the program has been executed, in new pid, mount, ipc, uts and network namespaces of a new pod.
func BenchmarkStart(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("not root")
	}
	dir := b.TempDir() + "/run"
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	if err := client.Spawn(ctx, exe, dir, client.SpawnOptions{}); err != nil {
		b.Fatal(err)
	}
	c, err := client.Dial(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Shutdown(ctx, true)
	exits := make(chan struct{}, 1)
	if err := c.Subscribe(ctx, func(client.Exit) { exits <- struct{}{} }); err != nil {
		b.Fatal(err)
	}
	bench := func(name string, box bool) {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				id := fmt.Sprint(name, b.N, "/", i)
				if box {
					sb, err := c.Sandbox(ctx, client.SandboxRequest{ID: id, Flags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS})
					if err != nil {
						b.Fatal(err)
					}
					sb.NetNS.Close()
				}
				var p program.Builder
				execute(&p, "/bin/busybox", "true")
				if _, err := c.Start(ctx, client.StartRequest{ID: id, Flags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Program: &p}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				<-exits
				if err := c.Forget(ctx, id); err != nil {
					b.Fatal(err)
				}
				if box {
					if err := c.ForgetSandbox(ctx, id); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
			}
		})
	}
	bench("container", false)
	bench("pod", true)
}
