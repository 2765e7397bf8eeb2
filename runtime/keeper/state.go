package keeper

import (
	"os"
	"strconv"
	"syscall"
	"time"

	"berth/runtime/keeper/wire"
)

// stateVersion is that of the encoding below. `keeper --probe` prints it, so that an upgrade to a binary that cannot read the state is refused.
const stateVersion = 1

// state is what an upgrade carries over: everything but connections. Descriptors keep their numbers across execve.
type state struct {
	Version    int
	Lock       int
	Listener   int
	StartedAt  int64
	Sandboxes  []savedSandbox
	Containers []savedContainer
	Proxies    savedProxies
}

type savedSandbox struct {
	ID    string
	Flags uint64
	NS    [len(nsOf)]int
	First savedProcess
}

type savedContainer struct {
	ID, Sandbox, ExitPath string
	Log                   wire.Log
	StartedAt             int64
	Process               savedProcess
	Ended                 bool
	Exit                  wire.Exit
	PTY                   int
	FIFOs                 [2]int // our ends of stdout and stderr; -1 when closed
	Dropped               uint64
	Input                 int // 1 + the descriptor that keeps standard input open, a FIFO's of before; 0 for none
}

// savedProcess has pid 0 for none. Foreign is a process that is not our child.
type savedProcess struct {
	PID     int
	PIDFD   int
	Ticks   uint64
	Ended   bool
	Known   bool
	Status  uint32
	At      int64
	Foreign bool
}

func (k *keeper) save(p *process) savedProcess {
	if p == nil {
		return savedProcess{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := savedProcess{PID: p.pid, PIDFD: p.pidfd, Ticks: p.ticks, Ended: p.ended, Known: p.known, Status: uint32(p.status), Foreign: p.foreign}
	if p.ended {
		s.At = p.at.UnixNano()
	}
	return s
}

// resume makes a process of what was saved. A child of before is a child still.
func (k *keeper) resume(s savedProcess) *process {
	if s.PID == 0 {
		return nil
	}
	p := &process{pid: s.PID, pidfd: s.PIDFD, ticks: s.Ticks, done: make(chan struct{}), foreign: s.Foreign}
	closeOnExec(p.pidfd)
	switch {
	case s.Ended:
		p.ended, p.known, p.status, p.at = true, s.Known, syscall.WaitStatus(s.Status), time.Unix(0, s.At)
		close(p.done)
	case s.Foreign:
		if err := k.watchForeign(p); err != nil {
			complain("cannot wait for an adopted process", err)
		}
	default:
		k.children[p.pid] = p
	}
	return p
}

// capture is the whole state. With the locks of an upgrade, on the loop.
func (k *keeper) capture() *state {
	s := &state{Version: stateVersion, Lock: k.lock, Listener: k.listener, StartedAt: k.started.UnixNano()}
	for _, b := range k.sandboxes {
		s.Sandboxes = append(s.Sandboxes, savedSandbox{ID: b.id, Flags: uint64(b.flags), NS: b.ns, First: k.save(b.first)})
	}
	for _, c := range k.containers {
		e := savedContainer{
			ID: c.id, Sandbox: c.sandbox, ExitPath: c.exitPath, Log: c.log, StartedAt: c.startedAt.UnixNano(), Process: k.save(c.process),
			Ended: c.ended, Exit: c.exit, PTY: c.pty, FIFOs: [2]int{-1, -1}, Input: c.input + 1,
		}
		if c.output != nil {
			for _, st := range c.output.streams {
				st.flush() // half a line is written as one: the next binary starts afresh
				if !c.output.terminal {
					e.FIFOs[streamIndex(st.name)] = st.fd
				}
			}
			if c.output.file != nil {
				e.Dropped = c.output.file.dropped.Load()
			}
		}
		s.Containers = append(s.Containers, e)
	}
	s.Proxies = k.saveProxies()
	return s
}

// descriptors calls f for each descriptor that the state refers to.
func (s *state) descriptors(f func(fd int)) {
	f(s.Lock)
	f(s.Listener)
	for i := range s.Sandboxes {
		for _, fd := range s.Sandboxes[i].NS {
			f(fd)
		}
		if s.Sandboxes[i].First.PID != 0 {
			f(s.Sandboxes[i].First.PIDFD)
		}
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		for _, fd := range []int{c.Process.PIDFD, c.PTY, c.FIFOs[0], c.FIFOs[1], c.Input - 1} {
			f(fd)
		}
	}
	s.Proxies.descriptors(f)
}

// restore takes over what an upgrade left; without one it does nothing.
func (k *keeper) restore() error {
	fd, err := strconv.Atoi(os.Getenv(stateEnv))
	if err != nil {
		return nil //nolint:nilerr // it says "serve" then: a fresh start
	}
	p, err := readAll(fd)
	syscall.Close(fd)
	if err != nil {
		return err
	}
	var s state
	wire.Decode(p, &s)
	if s.Version != stateVersion {
		return syscall.EPROTO
	}
	s.descriptors(closeOnExec)
	k.lock, k.listener, k.started = s.Lock, s.Listener, time.Unix(0, s.StartedAt)
	for i := range s.Sandboxes {
		b := &s.Sandboxes[i]
		k.sandboxes[b.ID] = &sandbox{id: b.ID, flags: uintptr(b.Flags), ready: true, ns: b.NS, first: k.resume(b.First)}
	}
	for i := range s.Containers {
		k.restoreContainer(&s.Containers[i])
	}
	k.restoreProxies(&s.Proxies)
	return nil
}

func (k *keeper) restoreContainer(s *savedContainer) {
	c := &container{
		id: s.ID, sandbox: s.Sandbox, exitPath: s.ExitPath, log: s.Log, startedAt: time.Unix(0, s.StartedAt),
		process: k.resume(s.Process), ended: s.Ended, exit: s.Exit, pty: s.PTY, input: s.Input - 1, output: &output{k: k},
	}
	if s.Log.Path != "" {
		c.output.file = newLogFile(&s.Log) // opened with the first line
		c.output.file.dropped.Store(s.Dropped)
		c.output.file.noted = s.Dropped
	}
	for i, fd := range s.FIFOs {
		if fd >= 0 {
			c.output.streams = append(c.output.streams, &stream{out: c.output, name: streamNames[i], fd: fd})
		}
	}
	k.containers[c.id] = c
}

// resumeAll starts waiting for what was restored. Before the loop runs, so it counts as on it.
func (k *keeper) resumeAll() {
	for _, c := range k.containers {
		for _, s := range c.output.streams {
			s.watch()
		}
		if c.pty >= 0 {
			c.output.addPTY(c.pty)
		}
		if !c.ended {
			k.finishWhenEnded(c)
		}
	}
	for _, b := range k.sandboxes {
		if b.first != nil {
			b.first.whenEnded(b.first.release)
		}
	}
}

func closeOnExec(fd int) {
	if fd >= 0 {
		syscall.CloseOnExec(fd)
	}
}

func inherit(fd int) {
	if fd >= 0 {
		_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
	}
}
