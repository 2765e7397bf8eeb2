package keeper

import (
	"errors"
	goruntime "runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// defaultTimeout is generous: a set-up takes two milliseconds, unless a mount waits for a network.
const defaultTimeout = 30 * time.Second

// slotGateWrite is for the keeper's own first steps.
const (
	slotGateWrite = program.Slots - 1
	slotPause     = program.Slots - 2
)

// spawner is the memory that one child at a time is set up from.
type spawner struct {
	arena  []byte
	page   []byte
	slots  program.Table
	orphan bool // a child that would not die may still write to the page
}

func newSpawner() (*spawner, error) {
	arena, err := syscall.Mmap(-1, 0, 256<<10, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, err
	}
	s := &spawner{arena: arena}
	return s, s.newPage()
}

// newPage gets another page for reports. When it fails the old one stays, and stays an orphan's.
func (s *spawner) newPage() error {
	page, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_ANON)
	if err != nil {
		return err
	}
	s.page, s.orphan = page, false
	return nil
}

func (s *spawner) report() *program.Report { return (*program.Report)(unsafe.Pointer(&s.page[0])) }

// fit makes the arena large enough.
func (s *spawner) fit(size int) error {
	if size <= len(s.arena) {
		return nil
	}
	arena, err := syscall.Mmap(-1, 0, (size+4095)&^4095, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return err
	}
	_ = syscall.Munmap(s.arena) // our own mapping: it cannot fail
	s.arena = arena
	return nil
}

// birth is what a child is made from.
type birth struct {
	flags    uintptr
	cgroup   string
	pidns    int // descriptor of the pid namespace to be born in; -1 for our own
	opening  prologue
	program  program.Program
	closing  program.Program // the keeper's own last steps
	endNames []string
	executes bool // it must end by executing a program
	tty      bool
	timeout  time.Duration
	// cloned runs while the child waits at its gate or is on its way there. It may give the gate's end away and set it to -1.
	cloned func(p *process, gate *int) *wire.Failure
}

// outcome of a set-up.
type outcome struct {
	*process
	pty int // master of the container's terminal; -1 for none
}

// spawn makes a child and waits until it has executed its program (or ended, when that is what it should do).
// The slots of the spawner that the caller gives are filled in here with the pipes.
func (k *keeper) spawn(s *spawner, b *birth) (outcome, *wire.Failure) {
	parts := []program.Program{b.opening.program, b.program, b.closing}
	if err := s.fit(program.Size(parts...)); err != nil {
		return outcome{pty: -1}, errnoFailure("map memory for a child", err)
	}
	if s.orphan { // the page may still be written to: it is left to that child
		if err := s.newPage(); err != nil {
			return outcome{pty: -1}, errnoFailure("map memory for a child", err)
		}
	}
	cgroup := -1
	if b.cgroup != "" {
		var err error
		if cgroup, err = open(b.cgroup, syscall.O_DIRECTORY|syscall.O_RDONLY, 0); err != nil {
			return outcome{pty: -1}, stepFailure(0, "open cgroup "+b.cgroup, err)
		}
		defer syscall.Close(cgroup)
	}
	reserved := -1
	if b.tty {
		var err error
		if reserved, err = dup(k.dir); err != nil {
			return outcome{pty: -1}, errnoFailure("reserve a descriptor", err)
		}
		s.slots[program.SlotPTY] = int32(reserved)
		defer syscall.Close(reserved)
	}
	p, gate, done, fail := k.clone(s, b, parts, cgroup)
	if fail != nil {
		return outcome{pty: -1}, fail
	}
	defer syscall.Close(done)
	defer closeFD(&gate)
	w := watch{k: k, s: s, b: b, p: p, gate: &gate, done: done, reserved: reserved, pty: -1, deadline: time.Now().Add(b.timeout)}
	if fail := w.wait(); fail != nil {
		closeFD(&w.pty)
		p.release()
		return outcome{p, -1}, fail
	}
	return outcome{p, w.pty}, nil
}

// clone makes the child and its two pipes, and records it before anybody can reap it.
func (k *keeper) clone(s *spawner, b *birth, parts []program.Program, cgroup int) (p *process, gate, done int, fail *wire.Failure) {
	k.forking.Lock()
	defer k.forking.Unlock()
	var g, d [2]int
	if err := syscall.Pipe2(g[:], syscall.O_CLOEXEC); err != nil {
		return nil, -1, -1, errnoFailure("make a pipe", err)
	}
	defer func() { syscall.Close(g[0]) }()
	if err := syscall.Pipe2(d[:], syscall.O_CLOEXEC); err != nil {
		syscall.Close(g[1])
		return nil, -1, -1, errnoFailure("make a pipe", err)
	}
	defer func() { syscall.Close(d[1]) }()
	s.slots[program.SlotGate], s.slots[slotGateWrite], s.slots[program.SlotReady] = int32(g[0]), int32(g[1]), int32(d[1])
	image, err := program.Place(s.arena, &s.slots, parts...)
	if err != nil {
		syscall.Close(g[1])
		syscall.Close(d[0])
		return nil, -1, -1, &wire.Failure{Code: wire.CodeInvalid, Text: err.Error()}
	}
	s.report().Reset()
	child := program.Child{Flags: b.flags, Cgroup: cgroup, Image: image, Report: s.report()}
	p, fail = k.fork(&child, b.pidns)
	if fail != nil {
		syscall.Close(g[1])
		syscall.Close(d[0])
		return nil, -1, -1, fail
	}
	return p, g[1], d[0], nil
}

func (k *keeper) fork(child *program.Child, pidns int) (*process, *wire.Failure) {
	if pidns >= 0 {
		goruntime.LockOSThread()
		if err := setns(pidns, cloneNewPID); err != nil {
			goruntime.UnlockOSThread()
			return nil, stepFailure(0, "enter the pid namespace", err)
		}
		defer func() {
			// A thread whose children would be born in a pod must never run anything else: it ends with this goroutine.
			if setns(k.pidns, cloneNewPID) == nil {
				goruntime.UnlockOSThread()
			}
		}()
	}
	k.mu.Lock() // the reaper takes it before it reaps: a child is known before it can be gone
	pid, pidfd, errno := program.Fork(child)
	if errno != 0 {
		k.mu.Unlock()
		name := "clone3"
		if errno == syscall.ENOMEM && pidns >= 0 {
			name = "clone3 into the pid namespace, whose first process has ended"
		}
		return nil, stepFailure(0, name, errno)
	}
	p := &process{pid: pid, pidfd: pidfd, ticks: startTicks(pid), done: make(chan struct{})}
	k.children[pid] = p
	k.mu.Unlock()
	select {
	case k.kick <- struct{}{}:
	default:
	}
	return p, nil
}

// prologue is the keeper's own steps at the start of every child.
type prologue struct {
	program program.Program
	names   []string
}

func newPrologue(nofile syscall.Rlimit, gated bool) (prologue, error) {
	var b program.Builder
	b.Call("close the gate's other end", syscall.SYS_CLOSE, program.Slot(slotGateWrite))
	limit := b.Words(program.Imm(nofile.Cur), program.Imm(nofile.Max))
	b.Call("put back the limit of open files", sysPrlimit, program.Imm(0), program.Imm(syscall.RLIMIT_NOFILE), limit, program.Imm(0))
	var buf [32]byte
	if score, err := readFile("/proc/self/oom_score_adj", buf[:]); err == nil && string(score) != "0\n" {
		// Raising it again always works; lowering may not be allowed, then it stays as it was for the keeper.
		at := atFDCWD
		step := b.Call("open oom_score_adj", syscall.SYS_OPENAT, program.Imm(at), b.String("/proc/self/oom_score_adj"), program.Imm(syscall.O_WRONLY))
		step.SaveTo, step.Ignore, step.SkipOnError = program.Registers, [3]syscall.Errno{syscall.ENOENT, syscall.EACCES, syscall.EPERM}, 2
		b.Call("write oom_score_adj", syscall.SYS_WRITE, program.Reg(program.Registers-1), b.String("0"), program.Imm(1)).Ignore = [3]syscall.Errno{syscall.EACCES, syscall.EPERM}
		b.Call("close oom_score_adj", syscall.SYS_CLOSE, program.Reg(program.Registers-1))
	}
	b.Call("clear the umask", syscall.SYS_UMASK, program.Imm(0))
	b.Call("mark descriptors", sysCloseRange, program.Imm(3), program.Imm(maxFD), program.Imm(closeCloexec))
	if gated {
		b.Call("wait for the keeper", syscall.SYS_READ, program.Slot(program.SlotGate), b.Bytes(make([]byte, 8)), program.Imm(1))
	}
	parsed, err := program.Parse(b.Encode())
	return prologue{parsed, b.Names()}, err
}

func errnoFailure(what string, err error) *wire.Failure {
	f := &wire.Failure{Code: wire.CodeErrno, Text: what}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		f.Errno = uint32(e)
	} else {
		f.Text += ": " + err.Error()
	}
	return f
}

func stepFailure(step int, name string, err error) *wire.Failure {
	f := errnoFailure(name, err)
	f.Code, f.Step = wire.CodeStep, uint32(step)
	return f
}

func invalid(text string) *wire.Failure { return &wire.Failure{Code: wire.CodeInvalid, Text: text} }

func quote(s string) string { return strconv.Quote(s) }
