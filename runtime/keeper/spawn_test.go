package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
)

// failing builds a program of 20 harmless steps, the one at i replaced.
func failing(i int, replace func(*program.Builder)) *program.Builder {
	var b program.Builder
	for n := range 20 {
		if n == i {
			replace(&b)
		} else {
			b.Call("step "+strconv.Itoa(n), syscall.SYS_GETPPID)
		}
	}
	execute(&b, "/bin/true")
	return &b
}

func TestEveryFailingStepIsNamed(t *testing.T) {
	w := newWorld(t)
	fds := w.openFDs()
	for i := range 20 {
		_, err := w.c.Start(w.ctx(), client.StartRequest{ID: "fail/" + strconv.Itoa(i), Flags: syscall.CLONE_NEWPID, Program: failing(i, func(b *program.Builder) {
			b.Call("enter nowhere", syscall.SYS_CHDIR, b.String("/no/such/place"))
		})})
		var step *client.StepError
		if !errors.As(err, &step) || step.Step != i || step.Name != "enter nowhere" || !errors.Is(err, syscall.ENOENT) {
			t.Errorf("step %d: %v (%+v)", i, err, step)
		}
	}
	for i := range 20 {
		_, err := w.c.Start(w.ctx(), client.StartRequest{ID: "die/" + strconv.Itoa(i), Program: failing(i, func(b *program.Builder) {
			pid := b.Call("know oneself", syscall.SYS_GETPID)
			pid.SaveTo = 1
			b.Call("die", syscall.SYS_KILL, program.Reg(0), program.Imm(int(syscall.SIGKILL)))
		})})
		var step *client.StepError
		if !errors.As(err, &step) || step.Step != i+1 || step.Name != "die" || step.Signal != syscall.SIGKILL {
			t.Errorf("step %d: %v (%+v)", i, err, step)
		}
	}
	if now := w.openFDs(); now != fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
	st, err := w.c.List(w.ctx())
	if err != nil || len(st.Containers) != 0 {
		t.Errorf("left: %+v, %v", st, err)
	}
}

// openFDs counts the keeper's descriptors, without those that only the moment has, and without pollers: the Go runtime makes its own with
// the first timer.
func (w *world) openFDs() int {
	w.t.Helper()
	last, same := -1, 0
	w.eventually("the number of descriptors settles", func() bool {
		names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", w.c.Info().PID))
		if err != nil {
			w.t.Fatal(err)
		}
		count := 0
		for _, name := range names {
			if to, err := os.Readlink(name); err == nil && !strings.HasPrefix(to, "anon_inode:[event") {
				count++
			}
		}
		if count == last {
			same++
		} else {
			last, same = count, 0
		}
		return same == 5
	})
	return last
}

func TestHangingStep(t *testing.T) {
	w := newWorld(t)
	var b program.Builder
	b.Call("read what never comes", syscall.SYS_READ, program.Slot(0), b.Bytes(make([]byte, 8)), program.Imm(1))
	execute(&b, "/bin/true")
	r, keep, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer keep.Close()
	begin := time.Now()
	_, err = w.c.Start(w.ctx(), client.StartRequest{ID: "hang", Program: &b, Files: []int{int(r.Fd())}, Timeout: 50 * time.Millisecond})
	var step *client.StepError
	if !errors.As(err, &step) || !step.TimedOut || step.Name != "read what never comes" {
		t.Errorf("%v (%+v)", err, step)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	good := func() *program.Builder { return shell("exit 0") }
	tests := map[string]struct {
		r    client.StartRequest
		want string
	}{
		"no program":       {client.StartRequest{ID: "a"}, "needs a program"},
		"bad id":           {client.StartRequest{ID: "a b", Program: good()}, "is not one"},
		"empty slot":       {client.StartRequest{ID: "a", Program: good()}, "slot 69 is empty"},
		"unknown sandbox":  {client.StartRequest{ID: "a", Sandbox: "none", Program: good()}, "not found"},
		"FIFO outside":     {client.StartRequest{ID: "a", Program: good(), Log: client.Log{Stdout: "/tmp/x"}}, "not below the run directory"},
		"FIFO dotdot":      {client.StartRequest{ID: "a", Program: good(), Log: client.Log{Stdout: w.dir + "/../x"}}, "not below the run directory"},
		"exit file":        {client.StartRequest{ID: "a", Program: good(), ExitPath: "/etc/x"}, "not below the run directory"},
		"no cgroup":        {client.StartRequest{ID: "a", Program: failing(-1, nil), CgroupDir: "/no/cgroup"}, "open cgroup"},
		"no exec":          {client.StartRequest{ID: "a", Program: endless()}, "without executing"},
		"missing program":  {client.StartRequest{ID: "a", Program: missing()}, "cannot execve /no/such: no such file"},
		"log via symlink":  {w.symlinkedLog("a"), "open log"},
		"log in /tmp-like": {w.worldWritableLog("a"), "open log"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := w.c.Start(w.ctx(), tt.r)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
	st, err := w.c.List(w.ctx())
	if err != nil || len(st.Containers) != 0 {
		t.Errorf("left: %+v, %v", st, err)
	}
}

func endless() *program.Builder {
	var b program.Builder
	b.Call("nothing", syscall.SYS_GETPID)
	return &b
}

func missing() *program.Builder {
	var b program.Builder
	execute(&b, "/no/such")
	return &b
}

func (w *world) symlinkedLog(id string) client.StartRequest {
	r := w.request(id, "echo x")
	r.Log.Path = filepath.Join(w.log, "link.log")
	if err := os.Symlink("/etc/passwd", r.Log.Path); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) worldWritableLog(id string) client.StartRequest {
	r := w.request(id, "echo x")
	dir := filepath.Join(w.log, "open")
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		w.t.Fatal(err)
	}
	r.Log.Path = filepath.Join(dir, "x.log")
	return r
}

// TestCleanChild looks at what a program inherits from the keeper.
func TestCleanChild(t *testing.T) {
	// As some shells do. Go's runtime leaves this signal as it finds it, so the keeper has it ignored, too.
	ignored, before := [4]uint64{1}, [4]uint64{}
	const unusedByGo = 32
	action := func(to, old *[4]uint64) {
		if _, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, unusedByGo, uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(old)), 8, 0, 0); e != 0 {
			t.Fatal(e)
		}
	}
	action(&ignored, &before)
	defer action(&before, nil)
	w := newWorld(t)
	r := w.request("clean", "ls -l /proc/self/fd | grep -c ' -> '; ulimit -Sn; grep SigBlk /proc/self/status; grep SigIgn /proc/self/status; cat /proc/self/oom_score_adj; pwd; umask")
	r.Flags = syscall.CLONE_NEWNS
	w.run(r)
	w.wait(r.ID)
	got := content(w.logText(r))
	// ls has 0, 1, 2 and the directory it reads.
	want := []string{"stdout F 4", "stdout F " + softLimit(t), "stdout F SigBlk:\t0000000000000000", "stdout F SigIgn:\t0000000000000000", "stdout F 0", "stdout F /", "stdout F 0000"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// softLimit is the limit of open files that a plain child of this process gets: the one from before Go raised it.
func softLimit(t *testing.T) string {
	t.Helper()
	p, err := commandOutput("/bin/sh", "-c", "ulimit -Sn")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(p)
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	fds := w.openFDs()
	const count = 200
	stop := make(chan struct{})
	var pressure, starters sync.WaitGroup
	pressure.Go(func() { // the keeper's own collector works too: requests and lists are its garbage
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := w.c.List(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	next := make(chan int)
	for range 4 {
		starters.Go(func() {
			for i := range next {
				r := w.request("many/"+strconv.Itoa(i), "echo hello from "+strconv.Itoa(i)+"; exit "+strconv.Itoa(i%100))
				if _, err := w.c.Start(w.ctx(), r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	starters.Wait()
	close(stop)
	pressure.Wait()
	ctx := w.ctx()
	for range count {
		select {
		case e := <-w.exits:
			var i int
			if _, err := fmt.Sscanf(e.ID, "many/%d", &i); err != nil || e.Status.ExitStatus() != i%100 {
				t.Errorf("exit = %+v", e)
			}
			p, err := os.ReadFile(filepath.Join(w.log, "many-"+strconv.Itoa(i)+".log"))
			if err != nil || !strings.HasSuffix(string(p), " stdout F hello from "+strconv.Itoa(i)+"\n") {
				t.Errorf("log at exit of %d = %q, %v", i, p, err)
			}
			if err := w.c.Forget(ctx, e.ID); err != nil {
				t.Error(err)
			}
		case <-ctx.Done():
			t.Fatal("exits are missing")
		}
	}
	if now := w.openFDs(); now != fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
}

// TestKilledDuringSetUp kills children from outside at moments of all kinds.
func TestKilledDuringSetUp(t *testing.T) {
	w := newWorld(t)
	fds := w.openFDs()
	parent := strconv.Itoa(w.c.Info().PID)
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			lists, _ := filepath.Glob("/proc/" + parent + "/task/*/children")
			for _, list := range lists {
				p, _ := os.ReadFile(list)
				for pid := range strings.FieldsSeq(string(p)) {
					n, _ := strconv.Atoi(pid)
					_ = syscall.Kill(n, syscall.SIGKILL)
				}
			}
		}
	})
	failed := 0
	for i := range 150 {
		var b program.Builder
		for n := range 30 {
			b.Call("mount "+strconv.Itoa(n), syscall.SYS_MOUNT, b.String("tmpfs"), b.String("/mnt"), b.String("tmpfs"), program.Imm(0), program.Imm(0))
		}
		execute(&b, "/bin/true")
		id := "kill/" + strconv.Itoa(i)
		_, err := w.c.Start(w.ctx(), client.StartRequest{ID: id, Flags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Program: &b})
		var step *client.StepError
		switch {
		case err == nil:
			w.wait(id)
			if err := w.c.Forget(w.ctx(), id); err != nil {
				t.Error(err)
			}
		case errors.As(err, &step) && step.Signal == syscall.SIGKILL && step.Name != "":
			failed++
		default:
			t.Errorf("unexpected: %v (%+v)", err, step)
		}
	}
	close(stop)
	killer.Wait()
	if failed == 0 {
		t.Error("none of 150 died in set-up: the test does not test")
	}
	if now := w.openFDs(); now != fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
}

func TestLargeProgram(t *testing.T) {
	w := newWorld(t)
	var b program.Builder
	stdio(&b)
	env := make([]string, 2000)
	for i := range env {
		env[i] = fmt.Sprintf("VARIABLE_%d=%s", i, strings.Repeat("v", 100))
	}
	b.Call("execve sh", syscall.SYS_EXECVE, b.String("/bin/sh"), b.Strings([]string{"sh", "-c", "echo $VARIABLE_1999 | wc -c"}), b.Strings(append(env, "PATH=/bin:/usr/bin")))
	r := w.request("large", "")
	r.Program = &b
	w.run(r)
	w.wait(r.ID)
	if got := content(w.logText(r)); len(got) != 1 || got[0] != "stdout F 101" {
		t.Errorf("log = %q", got)
	}
}

func TestBornInCgroup(t *testing.T) {
	w := newWorld(t)
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/unified/cgroup.procs"); err == nil {
		root += "/unified"
	}
	if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		t.Skipf("no cgroup v2 tree: %v", err)
	}
	dir := filepath.Join(root, "berth-test-"+randomID())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.eventually("cgroup is removed", func() bool { return unix.Rmdir(dir) == nil }) })
	r := w.request("cg", "cat /proc/self/cgroup")
	r.CgroupDir = dir
	w.run(r)
	w.wait(r.ID)
	if got := w.logText(r); !strings.Contains(got, "0::/"+filepath.Base(dir)) && !strings.Contains(got, filepath.Base(dir)+"\n") {
		t.Errorf("groups: %s", got)
	}
}
