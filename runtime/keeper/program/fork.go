package program

import (
	goruntime "runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Report is what a child leaves in shared memory. It must lie in a MAP_SHARED mapping.
type Report struct {
	entered uint32 // 1 + the step that was begun last
	failed  uint32 // 1 + the step that failed
	errno   uint32
}

// Reset clears the report for the next child.
func (r *Report) Reset() {
	atomic.StoreUint32(&r.entered, 0)
	atomic.StoreUint32(&r.failed, 0)
	atomic.StoreUint32(&r.errno, 0)
}

// Entered is the step that the child began last; -1 before the first. At the end of the program it is the number of steps.
func (r *Report) Entered() int { return int(atomic.LoadUint32(&r.entered)) - 1 }

// Failed is the step that failed and why; -1 for none.
func (r *Report) Failed() (int, syscall.Errno) {
	return int(atomic.LoadUint32(&r.failed)) - 1, syscall.Errno(atomic.LoadUint32(&r.errno))
}

// cloneArgs is struct clone_args of clone3, up to and with cgroup (Linux 5.7).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

const (
	clonePIDFD      = 0x1000
	cloneIntoCgroup = 0x2_0000_0000
)

// Child says how to make a child.
type Child struct {
	Flags uintptr // CLONE_NEW…
	// Cgroup is the descriptor of a cgroup v2 directory; -1 for the parent's own.
	Cgroup int
	Image  Image
	Report *Report
}

// defaultAction is a struct sigaction of zeros: SIG_DFL.
var defaultAction [4]uint64

// Fork makes a child that runs the image and never returns from it. All signals are blocked on this thread from before the clone until the
// child has its own handlers, so that no handler of the Go runtime ever runs in it.
func Fork(c *Child) (pid, pidfd int, errno syscall.Errno) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	fd := int32(-1)
	args := cloneArgs{
		flags:      uint64(c.Flags) | clonePIDFD,
		pidfd:      uint64(uintptr(unsafe.Pointer(&fd))),
		exitSignal: uint64(syscall.SIGCHLD),
	}
	if c.Cgroup >= 0 {
		args.flags |= cloneIntoCgroup
		args.cgroup = uint64(c.Cgroup)
	}
	pid, errno = fork(c, &args)
	return pid, int(fd), errno
}

// fork does the clone.
//
//go:norace
//go:noinline
func fork(c *Child, args *cloneArgs) (int, syscall.Errno) {
	all, old := ^uint64(0), uint64(0)
	steps, count, base, report := c.Image.steps, c.Image.count, c.Image.base, c.Report
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, _, errno := syscall.RawSyscall(sysClone3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	if pid == 0 && errno == 0 {
		child(steps, count, base, report)
	}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return int(pid), errno
}

// child is all that runs in the child: no allocation, no lock, no growth of the stack, no write of a pointer.
//
//go:nosplit
//go:norace
//go:nocheckptr
func child(steps *step, count uint32, base unsafe.Pointer, report *Report) {
	// All signals: what whoever started the keeper ignored is as little the child's as what the keeper ignores, and Go's runtime leaves
	// some that it does not use (32 to 34) as they were. CLONE_CLEAR_SIGHAND keeps what is ignored. SIGKILL and SIGSTOP refuse.
	for sig := uintptr(1); sig <= 64; sig++ {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&defaultAction)), 0, 8, 0, 0)
	}
	// defaultAction is as good as an empty set of signals.
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&defaultAction)), 0, 8, 0, 0)
	status := interpret(steps, count, base, report)
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, status, 0, 0)
	}
}

// interpret runs the steps and returns the exit status. Everything it stores is an integer, so no write barrier can come in the way.
//
//go:nosplit
//go:norace
//go:nocheckptr
func interpret(steps *step, count uint32, base unsafe.Pointer, report *Report) uintptr {
	var regs [Registers]uint64
	var a [6]uint64
	for i := uint32(0); i < count; {
		report.entered = i + 1
		s := (*step)(unsafe.Add(unsafe.Pointer(steps), uintptr(i)*stepSize))
		for j := range a {
			a[j] = s.args[j]
			if s.regs&(1<<j) != 0 {
				a[j] = regs[a[j]&(Registers-1)]
			}
		}
		i++
		switch s.nr {
		case NRJump:
			i = uint32(a[0])
			continue
		case NRExit:
			report.entered = count + 1
			return uintptr(a[0])
		case NRStore:
			*(*uint64)(unsafe.Add(base, uintptr(a[0])-uintptr(base))) = a[1]
			continue
		}
		r, _, errno := syscall.RawSyscall6(uintptr(s.nr), uintptr(a[0]), uintptr(a[1]), uintptr(a[2]), uintptr(a[3]), uintptr(a[4]), uintptr(a[5]))
		if s.nr == syscall.SYS_READ && r == 0 && errno == 0 {
			errno = syscall.EPIPE
		}
		if errno != 0 {
			e := uint32(errno)
			if e != s.ignore[0] && e != s.ignore[1] && e != s.ignore[2] {
				report.errno = e
				report.failed = i
				return 127
			}
			i += uint32(s.skip)
			continue
		}
		if s.save != 0 {
			regs[(s.save-1)&(Registers-1)] = uint64(r)
		}
	}
	report.entered = count + 1
	return 0
}
