package keeper_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
)

// world is a keeper (this test binary itself) on a run directory of its own.
type world struct {
	t     *testing.T
	dir   string
	log   string // directory of logs
	c     *client.Client
	exits chan client.Exit
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: a keeper cannot make namespaces")
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	needRoot(t)
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "run"), log: t.TempDir()}
	if err := os.Chmod(w.log, 0o755); err != nil {
		t.Fatal(err)
	}
	w.start()
	t.Cleanup(w.end)
	return w
}

// start makes sure a keeper serves, and connects.
func (w *world) start() {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := client.Spawn(w.ctx(), exe, w.dir, client.SpawnOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.dial()
}

func (w *world) dial() {
	w.t.Helper()
	c, err := client.Dial(w.ctx(), w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.c = c
	exits := make(chan client.Exit, 1000)
	w.exits = exits
	if err := c.Subscribe(w.ctx(), func(e client.Exit) { exits <- e }); err != nil {
		w.t.Fatal(err)
	}
}

// end kills everything and shows the keeper's own log when it has any.
func (w *world) end() {
	c, err := client.Dial(context.Background(), w.dir)
	if err == nil {
		err = c.Shutdown(context.Background(), true)
	}
	if err != nil && !errors.Is(err, client.ErrKeeperGone) && !errors.Is(err, client.ErrNoKeeper) {
		w.t.Errorf("shutdown: %v", err)
	}
	if p, _ := os.ReadFile(filepath.Join(w.dir, "keeper.log")); len(p) > 0 {
		w.t.Errorf("keeper's log:\n%s", p)
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// request is a start of a shell script with its output in a log.
func (w *world) request(id, script string) client.StartRequest {
	name := strings.ReplaceAll(id, "/", "-")
	return client.StartRequest{
		ID: id, Flags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Program: shell(script),
		Log: client.Log{
			Stdout: filepath.Join(w.dir, name+".out"), Stderr: filepath.Join(w.dir, name+".err"),
			Path: filepath.Join(w.log, name+".log"),
		},
		ExitPath: filepath.Join(w.dir, name+".exit"),
	}
}

func (w *world) run(r client.StartRequest) client.Started {
	w.t.Helper()
	s, err := w.c.Start(w.ctx(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) wait(id string) client.Exit {
	w.t.Helper()
	ctx := w.ctx()
	for {
		select {
		case e := <-w.exits:
			if e.ID == id {
				return e
			}
		case <-ctx.Done():
			w.t.Fatalf("no exit of %s", id)
		}
	}
}

func (w *world) logText(r client.StartRequest) string {
	w.t.Helper()
	p, err := os.ReadFile(r.Log.Path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(p)
}

// shell is a program that runs a script with stdout and stderr in the slots.
func shell(script string) *program.Builder {
	var b program.Builder
	stdio(&b)
	execute(&b, "/bin/sh", "-c", script)
	return &b
}

func stdio(b *program.Builder) {
	b.Call("put stdout in place", syscall.SYS_DUP3, program.Slot(program.SlotStdout), program.Imm(1), program.Imm(0))
	b.Call("put stderr in place", syscall.SYS_DUP3, program.Slot(program.SlotStderr), program.Imm(2), program.Imm(0))
	b.Call("start a session", syscall.SYS_SETSID)
	b.Call("wait at the gate", syscall.SYS_READ, program.Slot(program.SlotGate), b.Bytes(make([]byte, 8)), program.Imm(1))
}

func execute(b *program.Builder, path string, args ...string) {
	b.Call("execve "+path, syscall.SYS_EXECVE, b.String(path), b.Strings(append([]string{path}, args...)), b.Strings([]string{"PATH=/bin:/usr/bin"}))
}

func randomID() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// content drops time, stream and tag from the lines of a log.
func content(log string) (lines []string) {
	for line := range strings.Lines(log) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4); len(f) == 4 {
			lines = append(lines, f[1]+" "+f[2]+" "+f[3])
		}
	}
	return lines
}

func TestWholeLife(t *testing.T) {
	w := newWorld(t)
	id := randomID()
	var box program.Builder
	box.Call("set the host name", syscall.SYS_SETHOSTNAME, box.String("web-host"), program.Imm(8))
	sb, err := w.c.Sandbox(w.ctx(), client.SandboxRequest{ID: id, Flags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC, Program: &box})
	if err != nil {
		t.Fatal(err)
	}
	defer sb.NetNS.Close()
	r := w.request(id+"/app/0", "uname -n; echo oops >&2; echo pid $$; ulimit -Sn; umask; trap 'exit 7' TERM; echo ready; while :; do sleep 1 & wait; done")
	r.Sandbox = id
	var b program.Builder
	stdio(&b)
	b.Call("enter uts", sysSetns, program.Slot(program.SlotUTSNS), program.Imm(syscall.CLONE_NEWUTS))
	execute(&b, "/bin/sh", "-c", "uname -n; echo oops >&2; echo pid $$; trap 'exit 7' TERM; echo ready; while :; do sleep 1 & wait; done")
	r.Program = &b
	s := w.run(r)
	if s.PID <= 0 || s.StartTicks == 0 {
		t.Errorf("started = %+v", s)
	}
	w.eventually("ready is logged", func() bool { return strings.Contains(w.logText(r), "stdout F ready\n") })
	if err := w.c.Forget(w.ctx(), r.ID); !errors.Is(err, client.ErrBusy) {
		t.Errorf("Forget of a running container: %v", err)
	}
	if err := w.c.Signal(w.ctx(), r.ID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	e := w.wait(r.ID)
	if !e.Known || e.Status.ExitStatus() != 7 || e.PID != s.PID {
		t.Errorf("exit = %+v", e)
	}
	rec, err := client.ReadExit(r.ExitPath)
	if err != nil || rec.Status != e.Status || rec.ID != r.ID || !rec.At.Equal(e.At) {
		t.Errorf("record = %+v, %v", rec, err)
	}
	got := strings.Join(content(w.logText(r)), "\n")
	for _, want := range []string{"stdout F web-host", "stderr F oops", "stdout F pid 1"} {
		if !strings.Contains(got, want) {
			t.Errorf("log lacks %q:\n%s", want, got)
		}
	}
	if err := w.c.Forget(w.ctx(), r.ID); err != nil {
		t.Error(err)
	}
	if err := w.c.ForgetSandbox(w.ctx(), id); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.Log.Stdout); !os.IsNotExist(err) {
		t.Errorf("the FIFO is still there: %v", err)
	}
	st, err := w.c.List(w.ctx())
	if err != nil || len(st.Containers)+len(st.Sandboxes) != 0 {
		t.Errorf("List = %+v, %v", st, err)
	}
}

// eventually waits for a condition that an event of the kernel brings about.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

func commandOutput(name string, args ...string) (string, error) {
	p, err := exec.Command(name, args...).Output()
	return string(p), err
}
