package keeper_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
)

func TestSandboxOwnsItsNamespaces(t *testing.T) {
	w := newWorld(t)
	fds := w.openFDs()
	var p program.Builder
	// Port numbers below 1024 and sysctls belong to who owns the namespace.
	p.Call("become root inside", syscall.SYS_SETRESUID, program.Imm(0), program.Imm(0), program.Imm(0))
	p.Call("set the host name", syscall.SYS_SETHOSTNAME, p.String("inside"), program.Imm(6))
	sb, err := w.c.Sandbox(w.ctx(), client.SandboxRequest{
		ID: "box", Flags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID,
		UIDMap: "0 100000 65536\n", GIDMap: "0 100000 65536\n", Program: &p, KeepAlive: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sb.NetNS.Close()
	if _, err := w.c.Sandbox(w.ctx(), client.SandboxRequest{ID: "box", Flags: unix.CLONE_NEWNET}); !errors.Is(err, client.ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	checkPause(t, w, sb)
	first, second := w.talker2("one", "box"), w.talker2("two", "box")
	first.say("x")
	first.logged("line 1 x")
	second.say("x")
	second.logged("line 1 x")
	for _, ns := range []string{"user", "net", "ipc", "uts", "pid"} {
		a, b := link(t, first.s.PID, ns), link(t, second.s.PID, ns)
		if a != b || a == link(t, os.Getpid(), ns) {
			t.Errorf("%s: %s and %s", ns, a, b)
		}
	}
	for _, c := range []*talker{first, second} {
		c.say("end")
		w.wait(c.r.ID)
		if err := w.c.Forget(w.ctx(), c.r.ID); err != nil {
			t.Error(err)
		}
	}
	if err := w.c.ForgetSandbox(w.ctx(), "box"); err != nil {
		t.Error(err)
	}
	w.eventually("pause is gone", func() bool { return syscall.Kill(sb.PID, 0) != nil })
	if now := w.openFDs(); now != fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
}

// talker2 is a talker in all namespaces of a sandbox.
func (w *world) talker2(id, box string) *talker {
	w.t.Helper()
	fifo := filepath.Join(w.log, id+".in")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(fifo, 0o666); err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	var b program.Builder
	stdio(&b)
	b.Call("dup the input", syscall.SYS_DUP3, program.Slot(0), program.Imm(0), program.Imm(0))
	for i, slot := range []int{program.SlotNetNS, program.SlotIPCNS, program.SlotUTSNS, program.SlotUserNS} {
		b.Call("enter namespace "+strconv.Itoa(i), sysSetns, program.Slot(slot), program.Imm(0))
	}
	b.Call("become group root", syscall.SYS_SETRESGID, program.Imm(0), program.Imm(0), program.Imm(0))
	b.Call("become root", syscall.SYS_SETRESUID, program.Imm(0), program.Imm(0), program.Imm(0))
	execute(&b, "/bin/sh", "-c", `i=0; while read l; do [ "$l" = end ] && exit 9; i=$((i+1)); echo line $i $l; done`)
	r := w.request(id, "")
	r.Program, r.Sandbox, r.Flags, r.Files = &b, box, unix.CLONE_NEWNS, []int{int(f.Fd())}
	r.Log.Owner = 100000
	return &talker{w, r, w.run(r), fifo}
}

func link(t *testing.T, pid int, ns string) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkPause makes sure that the sandbox's first process is nobody, nowhere, and holds nothing.
func checkPause(t *testing.T, w *world, sb client.Sandbox) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", sb.PID)
	cmdline, err := os.ReadFile(proc + "cmdline")
	if want := "berth\x00pause\x00--run-dir\x00" + w.dir + "\x00" + sb.ID + "\x00"; err != nil || string(cmdline) != want {
		t.Errorf("cmdline = %q, %v", cmdline, err)
	}
	if names, err := os.ReadDir(proc + "fd"); err != nil || len(names) != 0 {
		t.Errorf("descriptors: %v, %v", names, err)
	}
	if names, err := os.ReadDir(proc + "root"); err != nil || len(names) != 0 {
		t.Errorf("root has %v, %v", names, err)
	}
	status, err := os.ReadFile(proc + "status")
	for _, want := range []string{"Uid:\t165534\t", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"} {
		if err != nil || !strings.Contains(string(status), want) {
			t.Errorf("status lacks %q (%v):\n%s", want, err, status)
		}
	}
	if mounts, err := os.ReadFile(proc + "mounts"); err != nil || strings.Count(string(mounts), "\n") != 1 {
		t.Errorf("mounts: %s, %v", mounts, err)
	}
}

func TestPauseReapsOrphans(t *testing.T) {
	w := newWorld(t)
	sb, err := w.c.Sandbox(w.ctx(), client.SandboxRequest{ID: "box", Flags: unix.CLONE_NEWPID, KeepAlive: true})
	if err != nil {
		t.Fatal(err)
	}
	r := w.request("orphans", "(sh -c 'exit 0' & exec sh -c 'exit 0') & wait; sh -c 'sleep 0.01 & echo started' ; exit 3")
	r.Flags, r.Sandbox = 0, "box"
	w.run(r)
	if e := w.wait(r.ID); e.Status.ExitStatus() != 3 {
		t.Errorf("exit = %+v", e)
	}
	children := fmt.Sprintf("/proc/%d/task/%d/children", sb.PID, sb.PID)
	w.eventually("no child and no zombie is left", func() bool {
		p, err := os.ReadFile(children)
		return err == nil && len(p) == 0
	})
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	c := w.talker("main")
	run := func(script string, tty bool) (*client.Process, *os.File) {
		t.Helper()
		var b program.Builder
		r, wr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer wr.Close()
		if tty {
			b.Call("start a session", syscall.SYS_SETSID)
			for fd := range 3 {
				b.Call("dup the terminal", syscall.SYS_DUP3, program.Slot(program.SlotTTY), program.Imm(fd), program.Imm(0))
			}
			b.Call("own the terminal", syscall.SYS_IOCTL, program.Imm(0), program.Imm(syscall.TIOCSCTTY), program.Imm(0))
		} else {
			b.Call("dup stdout", syscall.SYS_DUP3, program.Slot(0), program.Imm(1), program.Imm(0))
		}
		b.Call("enter the mounts", sysSetns, program.Slot(program.SlotTarget), program.Imm(unix.CLONE_NEWNS))
		execute(&b, "/bin/sh", "-c", script)
		p, err := w.c.Exec(w.ctx(), client.ExecRequest{Container: c.r.ID, Program: &b, Files: []int{int(wr.Fd())}, TTY: tty})
		if err != nil {
			t.Fatal(err)
		}
		return p, r
	}
	p, out := run("readlink /proc/self/ns/mnt; exit 7", false)
	got, _ := io.ReadAll(out)
	if st, err := p.Wait(w.ctx()); err != nil || st.Status.ExitStatus() != 7 {
		t.Errorf("status = %+v, %v", st, err)
	}
	if strings.TrimSpace(string(got)) != link(t, c.s.PID, "mnt") {
		t.Errorf("mount namespace = %s", got)
	}
	p, _ = run("exec sleep 1000", false)
	if link(t, p.PID, "pid") != link(t, c.s.PID, "pid") {
		t.Error("not in the pid namespace")
	}
	if err := p.Signal(w.ctx(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if st, err := p.Wait(w.ctx()); err != nil || st.Status.Signal() != syscall.SIGTERM {
		t.Errorf("status = %+v, %v", st, err)
	}
	p, _ = run("test -t 0 && echo hello; stty size; exit 5", true)
	text := make([]byte, 1000)
	if err := unix.IoctlSetWinsize(int(p.PTY.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 12, Col: 34}); err != nil {
		t.Error(err)
	}
	n, err := io.ReadAtLeast(p.PTY, text, len("hello\r\n"))
	if err != nil || !strings.HasPrefix(string(text[:n]), "hello\r\n") {
		t.Errorf("terminal says %q, %v", text[:n], err)
	}
	if st, err := p.Wait(w.ctx()); err != nil || st.Status.ExitStatus() != 5 {
		t.Errorf("status = %+v, %v", st, err)
	}
	p.PTY.Close()
	p, _ = run("exec sleep 1000", false)
	w.c.Close()
	w.eventually("the process of a closed connection is killed", func() bool { return syscall.Kill(p.PID, 0) != nil })
	if _, err := p.Wait(w.ctx()); !errors.Is(err, client.ErrKeeperGone) {
		t.Errorf("Wait: %v", err)
	}
}

func TestTerminalOfContainer(t *testing.T) {
	w := newWorld(t)
	var b program.Builder
	b.Call("start a session", syscall.SYS_SETSID)
	b.Call("open the master", syscall.SYS_OPENAT, program.Imm(unix.AT_FDCWD), b.String("/dev/ptmx"), program.Imm(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)).SaveTo = 1
	b.Call("unlock it", syscall.SYS_IOCTL, program.Reg(0), program.Imm(unix.TIOCSPTLCK), b.Bytes(make([]byte, 4)))
	b.Call("open the terminal", syscall.SYS_IOCTL, program.Reg(0), program.Imm(unix.TIOCGPTPEER), program.Imm(unix.O_RDWR)).SaveTo = 2
	for fd := range 3 {
		b.Call("dup the terminal", syscall.SYS_DUP3, program.Reg(1), program.Imm(fd), program.Imm(0))
	}
	b.Call("hand the master over", syscall.SYS_DUP3, program.Reg(0), program.Slot(program.SlotPTY), program.Imm(unix.O_CLOEXEC))
	b.Call("say so", syscall.SYS_WRITE, program.Slot(program.SlotReady), b.String("x"), program.Imm(1))
	b.Call("wait at the gate", syscall.SYS_READ, program.Slot(program.SlotGate), b.Bytes(make([]byte, 8)), program.Imm(1))
	b.Call("own the terminal", syscall.SYS_IOCTL, program.Imm(0), program.Imm(unix.TIOCSCTTY), program.Imm(0))
	b.Call("mark descriptors", unix.SYS_CLOSE_RANGE, program.Imm(3), program.Imm(1<<31-1), program.Imm(unix.CLOSE_RANGE_CLOEXEC))
	execute(&b, "/bin/sh", "-c", "test -t 1 && echo terminal; read x; echo got $x; exit 4")
	r := client.StartRequest{ID: "tty", TTY: true, Program: &b, Log: client.Log{Path: filepath.Join(w.log, "tty.log")}}
	w.run(r)
	w.eventually("it runs", func() bool { return strings.Contains(w.logText(r), "stdout F terminal\r\n") })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.c.Upgrade(w.ctx(), exe); err != nil { // the terminal stays
		t.Fatal(err)
	}
	w.dial()
	pty, err := w.c.PTY(w.ctx(), "tty")
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	if _, err := pty.WriteString("typed\n"); err != nil {
		t.Error(err)
	}
	if e := w.wait("tty"); e.Status.ExitStatus() != 4 {
		t.Errorf("exit = %+v", e)
	}
	if got := w.logText(r); !strings.Contains(got, "stdout F got typed\r\n") {
		t.Errorf("log = %q", got)
	}
	if err := w.c.Forget(w.ctx(), "tty"); err != nil {
		t.Error(err)
	}
}

func TestMountIsTheKeepersAlone(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(w.dir, "memory")
	if err := w.c.Mount(w.ctx(), dir, "size=64k,mode=1777"); err != nil {
		t.Fatal(err)
	}
	r := w.request("m", "stat -f -c %T "+dir+"; echo x > "+dir+"/f")
	w.run(r)
	w.wait(r.ID)
	if got := content(w.logText(r)); len(got) != 1 || got[0] != "stdout F tmpfs" {
		t.Errorf("log = %q", got)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the host sees %v, %v", names, err)
	}
	if err := w.c.Unmount(w.ctx(), dir); err != nil {
		t.Error(err)
	}
	if err := w.c.Unmount(w.ctx(), dir); err != nil {
		t.Error(err)
	}
	if err := w.c.Mount(w.ctx(), "/mnt", ""); err == nil {
		t.Error("mounted outside the run directory")
	}
}
