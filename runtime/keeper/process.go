package keeper

import (
	"errors"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"berth/runtime/keeper/wire"
)

// process is one that we wait for: a child, or one adopted.
type process struct {
	pid   int
	ticks uint64
	done  chan struct{} // closed when it is gone
	// foreign: not our child.
	foreign bool

	mu     sync.Mutex
	pidfd  int
	ended  bool
	known  bool
	status syscall.WaitStatus
	at     time.Time
	onEnd  func()
}

// signal sends a signal; nothing happens when the process is gone.
func (p *process) signal(sig uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return nil
	}
	if err := pidfdSignal(p.pidfd, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// kill ends the process. To SIGKILL by a pidfd the kernel answers root with nothing but ESRCH, which is the wish fulfilled.
func (p *process) kill() { _ = p.signal(uint32(syscall.SIGKILL)) }

// killAll ends an exec and what it has started: what leads its own session has its number for its group's. Otherwise a probe that takes too
// long would leave a process in the container every time. The number cannot be another's: the leader is not reaped, or has been only just
// now, and numbers come round after thousands of others.
func (p *process) killAll() {
	p.mu.Lock()
	if !p.ended && !p.foreign {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	}
	p.mu.Unlock()
	p.kill() // it may not lead yet
}

// end records how the process ended; only the first word counts. The caller runs what is returned, without the keeper's lock.
func (p *process) end(status syscall.WaitStatus, known bool) (then func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return func() {}
	}
	p.ended, p.known, p.status, p.at = true, known, status, time.Now()
	then = p.onEnd
	p.onEnd = nil
	close(p.done)
	if then == nil {
		return func() {}
	}
	return then
}

// whenEnded calls f once the process has ended: now, when it has already.
func (p *process) whenEnded(f func()) {
	p.mu.Lock()
	if !p.ended {
		p.onEnd = f
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	f()
}

// release closes the pidfd.
func (p *process) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	closeFD(&p.pidfd)
}

func (p *process) signaled() syscall.Signal {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended && p.status.Signaled() {
		return p.status.Signal()
	}
	return 0
}

func (p *process) exitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status.ExitStatus()
}

// exit is how it ended, for the wire.
func (p *process) exit(id string) wire.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return wire.Exit{ID: id, PID: p.pid, Known: p.known, Status: uint32(p.status), At: p.at.UnixNano()}
}

const (
	waitAll     = 0          // P_ALL
	waitExited  = 0x4        // WEXITED
	waitPeek    = 0x01000000 // WNOWAIT
	siginfoPID  = 16
	siginfoSize = 128
)

// reap waits for children for ever. A child is looked at first and reaped under the lock under which it was recorded, so that neither an exit is
// lost nor a number given to a new child before its old owner is forgotten. Orphans of containers that end up here are reaped on the way.
func (k *keeper) reap() {
	var info [siginfoSize]byte
	for {
		_, _, e := syscall.Syscall6(syscall.SYS_WAITID, waitAll, 0, uintptr(unsafe.Pointer(&info)), waitExited|waitPeek, 0, 0)
		if e == syscall.ECHILD {
			<-k.kick
			continue
		}
		if e != 0 {
			continue
		}
		pid := int(*(*int32)(unsafe.Pointer(&info[siginfoPID])))
		var status syscall.WaitStatus
		k.mu.Lock()
		got, _ := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		p := k.children[pid]
		then := func() {}
		if got == pid && p != nil {
			delete(k.children, pid)
			then = p.end(status, true) // under the lock: an upgrade must not see it alive and reaped
		}
		k.mu.Unlock()
		then()
	}
}
