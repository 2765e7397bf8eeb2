package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/client"
)

// steady writes a numbered line whenever its standard input's FIFO is told to, and ends with 9.
const steady = `exec 3<>%s; i=0; while read l <&3; do [ "$l" = end ] && exit 9; i=$((i+1)); echo line $i $l; done`

type talker struct {
	w    *world
	r    client.StartRequest
	s    client.Started
	fifo string
}

func (w *world) talker(id string) *talker {
	w.t.Helper()
	fifo := filepath.Join(w.log, strings.ReplaceAll(id, "/", "-")+".in")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		w.t.Fatal(err)
	}
	r := w.request(id, fmt.Sprintf(steady, fifo))
	return &talker{w, r, w.run(r), fifo}
}

func (k *talker) say(text string) {
	k.w.t.Helper()
	f, err := os.OpenFile(k.fifo, os.O_WRONLY, 0)
	if err != nil {
		k.w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text + "\n"); err != nil {
		k.w.t.Fatal(err)
	}
}

func (k *talker) logged(text string) {
	k.w.t.Helper()
	k.w.eventually("log has "+text, func() bool { return strings.Contains(k.w.logText(k.r), text+"\n") })
}

func TestUpgradeKeepsEverything(t *testing.T) {
	w := newWorld(t)
	id := randomID()
	sb, err := w.c.Sandbox(w.ctx(), client.SandboxRequest{ID: id, Flags: syscall.CLONE_NEWNET})
	if err != nil {
		t.Fatal(err)
	}
	before := inode(t, sb.NetNS)
	sb.NetNS.Close()
	running, ended := w.talker(id+"/run/0"), w.talker(id+"/end/0")
	running.say("a")
	running.logged("line 1 a")
	ended.say("end")
	w.wait(ended.r.ID)
	pid := w.c.Info().PID
	exe, _ := os.Executable()
	copied := filepath.Join(w.log, "new-binary")
	data, err := os.ReadFile(exe)
	if err == nil {
		err = os.WriteFile(copied, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	build := w.c.Info().Build
	if err := w.c.Upgrade(w.ctx(), copied); err != nil {
		t.Fatal(err)
	}
	w.dial()
	if w.c.Info().PID != pid || w.c.Info().Build == build {
		t.Errorf("keeper was %d %s, is %+v", pid, build, w.c.Info())
	}
	running.say("b")
	running.logged("line 2 b")
	st, err := w.c.List(w.ctx())
	if err != nil || len(st.Containers) != 2 || len(st.Sandboxes) != 1 {
		t.Fatalf("List = %+v, %v", st, err)
	}
	for _, c := range st.Containers {
		if c.Ended != (c.ID == ended.r.ID) || c.Ended && c.Exit.Status.ExitStatus() != 9 || !c.Ended && c.PID != running.s.PID {
			t.Errorf("after the upgrade: %+v", c)
		}
	}
	net, err := w.c.SandboxNetNS(w.ctx(), id)
	if err != nil || inode(t, net) != before {
		t.Errorf("network namespace changed (%v)", err)
	}
	net.Close()
	running.say("end")
	if e := w.wait(running.r.ID); !e.Known || e.Status.ExitStatus() != 9 {
		t.Errorf("exit = %+v", e)
	}
	if err := w.c.Upgrade(w.ctx(), "/bin/true"); err == nil {
		t.Error("upgraded to /bin/true")
	}
}

func inode(t *testing.T, f *os.File) uint64 {
	t.Helper()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Ino
}

func TestKilledKeeper(t *testing.T) {
	needRoot(t)
	// Orphans come to this process, and it reaps them, as a real init does: only then the kernel tells a stranger the exit status.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	w := newWorld(t)
	id := randomID()
	sb, err := w.c.Sandbox(w.ctx(), client.SandboxRequest{ID: id, Flags: syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID, KeepAlive: true})
	if err != nil {
		t.Fatal(err)
	}
	in := w.talker(id + "/app/0")
	in.say("before")
	in.logged("line 1 before")
	old := w.c.Info().PID
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-w.c.Done()
	if _, err := w.c.List(w.ctx()); !errors.Is(err, client.ErrKeeperGone) {
		t.Errorf("List without a keeper: %v", err)
	}
	if _, err := client.Dial(w.ctx(), w.dir); !errors.Is(err, client.ErrNoKeeper) {
		t.Errorf("Dial without a keeper: %v", err)
	}
	in.say("meanwhile")
	w.start()
	if w.c.Info().PID == old {
		t.Error("the pid is the old one")
	}
	adopt := client.AdoptRequest{
		ID: in.r.ID, PID: in.s.PID, StartTicks: in.s.StartTicks, StartedAt: in.s.At, Sandbox: id, SandboxFlags: syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID,
		SandboxPID: sb.PID, SandboxTicks: sb.StartTicks, Log: in.r.Log, ExitPath: in.r.ExitPath,
	}
	wrong := adopt
	wrong.StartTicks++
	if err := w.c.Adopt(w.ctx(), wrong); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("adopted a process of another time: %v", err)
	}
	if err := w.c.Adopt(w.ctx(), adopt); err != nil {
		t.Fatal(err)
	}
	in.logged("line 2 meanwhile")
	in.say("after")
	in.logged("line 3 after")
	in.say("end")
	if _, err := syscall.Wait4(in.s.PID, nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	if e := w.wait(in.r.ID); e.Known != haveExitInfo() || e.Known && e.Status.ExitStatus() != 9 {
		t.Errorf("exit = %+v", e)
	}
	if rec, err := client.ReadExit(in.r.ExitPath); err != nil || rec.PID != in.s.PID {
		t.Errorf("record = %+v, %v", rec, err)
	}
	if err := w.c.ForgetSandbox(w.ctx(), id); err != nil {
		t.Error(err)
	}
	w.eventually("the sandbox's process is gone", func() bool { return gone(sb.PID) })
}

// haveExitInfo probes for Linux 6.15, which keeps the exit status of a reaped process with its pidfd.
func haveExitInfo() bool {
	cmd := exec.Command("/bin/true")
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	if cmd.Run() != nil || pidfd < 0 {
		return false
	}
	defer unix.Close(pidfd)
	info := [8]uint64{8}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), 0xC040FF0B, uintptr(unsafe.Pointer(&info)))
	return e == 0 && info[0]&8 != 0
}

// gone tells whether a process has ended; one that its new parent has not reaped yet counts.
func gone(pid int) bool {
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(p), ") Z ")
}

func TestOneKeeperPerDirectory(t *testing.T) {
	w := newWorld(t)
	pid := w.c.Info().PID
	w.start()
	if got := w.c.Info().PID; got != pid {
		t.Errorf("keeper %d was joined by %d", pid, got)
	}
}

func TestShutdownIsRefusedWhileContainersRun(t *testing.T) {
	w := newWorld(t)
	k := w.talker(randomID() + "/a/0")
	if err := w.c.Shutdown(w.ctx(), false); !errors.Is(err, client.ErrBusy) {
		t.Fatalf("Shutdown: %v", err)
	}
	if err := w.c.Shutdown(w.ctx(), true); err != nil && !errors.Is(err, client.ErrKeeperGone) {
		t.Fatal(err)
	}
	if !gone(k.s.PID) {
		t.Error("the container lives")
	}
	if _, err := client.ReadExit(k.r.ExitPath); err != nil {
		t.Error(err)
	}
}

func TestLongRunDirectory(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	w := &world{t: t, dir: filepath.Join(dir, "run"), log: t.TempDir()}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.start()
	t.Cleanup(w.end)
	r := w.request("a/b/0", "echo hello")
	w.run(r)
	w.wait(r.ID)
	if got := content(w.logText(r)); len(got) != 1 || got[0] != "stdout F hello" {
		t.Errorf("log = %q", got)
	}
}
