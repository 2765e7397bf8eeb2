package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/keeper/client"
	"berth/runtime/keeper/program"
)

// Exec implements runtime.Executor.
func (r *Runtime) Exec(ctx context.Context, uid, name string, cfg runtime.ExecConfig) (int, error) {
	code, err := r.exec(ctx, uid, name, cfg)
	if err != nil {
		return code, fmt.Errorf("cannot execute in container %q of pod %s: %w", name, uid, err)
	}
	return code, nil
}

func (r *Runtime) exec(ctx context.Context, uid, name string, cfg runtime.ExecConfig) (int, error) {
	if len(cfg.Command) == 0 {
		return 0, errors.New("no command given")
	}
	r.settle(uid)
	r.mu.Lock()
	p := r.pods[uid]
	var c *container
	var rec containerRecord
	var sandbox sandboxRecord
	if p != nil {
		if c = p.newest(name); c != nil {
			rec, sandbox = c.containerRecord, p.sandboxRecord
		}
	}
	r.mu.Unlock()
	if c == nil || rec.State != runtime.Running {
		return 0, notFound("running container")
	}
	s := newStreams(cfg)
	defer s.close()
	prog, err := r.compileExec(uid, rec, sandbox, cfg, s.given())
	if err != nil {
		return 0, err
	}
	if err := s.own(int(sandbox.IDBase + rec.Process.User.UID)); err != nil {
		return 0, err
	}
	proc, err := r.client().Exec(ctx, client.ExecRequest{
		Container: c.keeperID(uid), CgroupDir: r.cgroups.Group(uid, name).Dir(), Program: prog, Files: s.numbers(),
		TTY: cfg.TTY, TTYOwner: sandbox.IDBase + rec.Process.User.UID,
	})
	if err != nil {
		return 0, startError(err)
	}
	return s.run(ctx, proc, cfg)
}

// compileExec lays out a further process in a container: it enters the container's namespaces and gives up the same rights.
func (r *Runtime) compileExec(uid string, rec containerRecord, sandbox sandboxRecord, cfg runtime.ExecConfig, given [3]bool) (*program.Builder, error) {
	filter, err := r.filter(rec.Config.Security, rec.Caps)
	if err != nil {
		return nil, err
	}
	proc := *rec.Process
	proc.Args, proc.Terminal = cfg.Command, cfg.TTY
	if cfg.TTY {
		proc.Env = mergeEnv(append([]string{}, proc.Env...), []string{"TERM=xterm"})
	}
	c := &compiler{in: programInput{
		spec: &runtime.Spec{Process: &proc}, idBase: sandbox.IDBase, taskFiles: r.cgroups.Group(uid, rec.Config.Name).TaskFiles(),
	}}
	c.joinCgroups()
	c.oomScore()
	c.Call("start a session", unix.SYS_SETSID)
	const all = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	c.Call("enter the container", unix.SYS_SETNS, program.Slot(program.SlotTarget), program.Imm(all))
	c.Call("start a session keyring", unix.SYS_KEYCTL, program.Imm(unix.KEYCTL_JOIN_SESSION_KEYRING), program.Imm(0)).
		Ignore = [3]syscall.Errno{syscall.ENOSYS, syscall.EDQUOT, syscall.EPERM}
	c.execStreams(cfg.TTY, given)
	c.openExistingCwd()
	if sandbox.IDBase != 0 {
		c.Call("enter the pod's user namespace", unix.SYS_SETNS, program.Slot(program.SlotTarget), program.Imm(unix.CLONE_NEWUSER))
		c.Call("become root of the user namespace", unix.SYS_SETRESGID, program.Imm(0), program.Imm(0), program.Imm(0))
		c.Call("become root of the user namespace", unix.SYS_SETRESUID, program.Imm(0), program.Imm(0), program.Imm(0))
	}
	c.limits()
	c.dropPrivileges(&proc, rec.Caps, filter)
	c.execute(&proc)
	return &c.Builder, nil
}

// execStreams puts the streams in place; what is not given is the container's own /dev/null.
func (c *compiler) execStreams(tty bool, given [3]bool) {
	if tty {
		c.standardStreams(program.Slot(program.SlotTTY))
		return
	}
	c.openat("open /dev/null", "/dev/null", unix.O_RDWR).SaveTo = 1 + regNull
	slot := 0
	for fd, sent := range given {
		from := program.Reg(regNull)
		if sent {
			from = program.Slot(slot)
			slot++
		}
		c.Call("put a stream in place", unix.SYS_DUP3, from, program.Imm(fd), program.Imm(0))
	}
}

// openExistingCwd opens the working directory of a container that runs: nothing is made in there any more.
func (c *compiler) openExistingCwd() {
	cwd := c.in.spec.Process.Cwd
	if cwd == "/" {
		return
	}
	c.Call("enter working directory "+cwd, unix.SYS_OPENAT2, program.Imm(atFDCWD), c.String(cwd),
		c.openHow(unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS), program.Imm(openHowSize)).SaveTo = 1 + regCwd
}

// streams are the pipes between the caller's streams and the process.
type streams struct {
	// theirs are the process' ends, ours the caller's; nil where nothing is given, and with a terminal.
	theirs, ours [3]*os.File
	err          error
}

func newStreams(cfg runtime.ExecConfig) *streams {
	s := &streams{}
	if cfg.TTY {
		return s
	}
	for fd, wanted := range [3]bool{cfg.Stdin != nil, cfg.Stdout != nil, cfg.Stderr != nil} {
		if !wanted || s.err != nil {
			continue
		}
		var read, write *os.File
		if read, write, s.err = os.Pipe(); s.err != nil {
			continue
		}
		s.theirs[fd], s.ours[fd] = write, read
		if fd == 0 {
			s.theirs[fd], s.ours[fd] = read, write
		}
	}
	return s
}

func (s *streams) given() (given [3]bool) {
	for fd, f := range s.theirs {
		given[fd] = f != nil
	}
	return given
}

func (s *streams) numbers() []int {
	var list []int
	for _, f := range s.theirs {
		if f != nil {
			list = append(list, int(f.Fd()))
		}
	}
	return list
}

// own lets the process open its streams again by name, as /dev/stdout.
func (s *streams) own(uid int) error {
	if s.err != nil {
		return fmt.Errorf("cannot make a pipe: %w", s.err)
	}
	for _, f := range s.theirs {
		if f == nil {
			continue
		}
		if err := f.Chown(uid, -1); err != nil {
			return err
		}
	}
	return nil
}

func (s *streams) closeTheirs() {
	for i, f := range s.theirs {
		if f != nil {
			_ = f.Close()
			s.theirs[i] = nil
		}
	}
}

func (s *streams) close() {
	s.closeTheirs()
	for i, f := range s.ours {
		if f != nil {
			_ = f.Close()
			s.ours[i] = nil
		}
	}
}

// drainTime is how long output is still read after the program has ended, when something it has left behind keeps the stream open.
const drainTime = 5 * time.Second

// run copies the streams until the process has ended and its output is read, and returns the exit code. When ctx is done the process is killed.
func (s *streams) run(ctx context.Context, proc *client.Process, cfg runtime.ExecConfig) (int, error) {
	s.closeTheirs()
	in, out, errOut := s.ours[0], s.ours[1], s.ours[2]
	if cfg.TTY {
		in, out = proc.PTY, proc.PTY
		defer func() { _ = proc.PTY.Close() }()
		stop := make(chan struct{})
		defer close(stop)
		go resize(proc.PTY, cfg.Resize, stop)
	}
	if cfg.Stdin != nil && in != nil {
		// It ends with its reader, which is the caller's: nobody can wait for a read from a terminal.
		go func() {
			_, _ = io.Copy(in, cfg.Stdin)
			if !cfg.TTY {
				_ = in.Close()
			}
		}()
	}
	var output sync.WaitGroup
	output.Go(func() { copyTo(cfg.Stdout, out) })
	if !cfg.TTY {
		output.Go(func() { copyTo(cfg.Stderr, errOut) })
	}
	st, err := proc.Wait(ctx)
	if err != nil {
		kill := context.WithoutCancel(ctx)
		err = errors.Join(err, proc.Signal(kill, syscall.SIGKILL))
	}
	for _, f := range []*os.File{out, errOut} {
		if f != nil {
			// A file that takes no deadline is read to its end, which then comes with the process.
			_ = f.SetReadDeadline(time.Now().Add(drainTime)) //nolint:forbidigo // the poller knows the real time only
		}
	}
	output.Wait()
	if err != nil {
		return 0, err
	}
	code, _, _ := judge(st, 0)
	return code, nil
}

func copyTo(w io.Writer, f *os.File) {
	if f == nil {
		return
	}
	if w == nil {
		w = io.Discard
	}
	if _, err := io.Copy(w, f); err != nil {
		// The caller no longer takes the output: read on, or the process would wait for ever.
		_, _ = io.Copy(io.Discard, f)
	}
}

// resize passes terminal sizes on until there are no more.
func resize(pty *os.File, sizes <-chan runtime.Size, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			setSize(pty, size)
		}
	}
}

func setSize(pty *os.File, size runtime.Size) {
	raw, err := pty.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
}
