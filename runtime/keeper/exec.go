package keeper

import (
	"syscall"
	"time"
	"unsafe"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

func (r *request) exec() {
	var m wire.Exec
	wire.Decode(r.packet, &m)
	p, pty, fail := r.k.execIn(r, &m)
	if fail != nil {
		r.fail(fail)
		return
	}
	defer closeFD(&pty)
	r.conn.mu.Lock()
	if r.conn.fd < 0 { // nobody is left to belong to
		p.kill()
	}
	r.conn.execs[r.id] = p
	r.conn.mu.Unlock()
	r.reply(&wire.Started{PID: p.pid, Ticks: p.ticks, At: time.Now().UnixNano()}, pty)
	id, conn := r.id, r.conn // not the request: it holds the program
	p.whenEnded(func() {
		conn.mu.Lock()
		delete(conn.execs, id)
		conn.mu.Unlock()
		p.release()
		e := p.exit("")
		e.Exec = id
		conn.send(wire.ExecExitKind, 0, &e, -1, syscall.MSG_DONTWAIT)
	})
}

// execIn starts a process in a container. It is nobody's container: it belongs to the connection.
func (k *keeper) execIn(r *request, m *wire.Exec) (p *process, pty int, fail *wire.Failure) {
	pty = -1
	prog, files, fail := r.program(&m.Program)
	if fail != nil {
		return nil, -1, fail
	}
	if prog.Len() == 0 {
		return nil, -1, invalid("an exec needs a program")
	}
	c := k.find(m.Container)
	if c == nil {
		return nil, -1, &wire.Failure{Code: wire.CodeNotFound, Text: "container " + m.Container}
	}
	target, pidns, err := c.process.target()
	if err != nil {
		return nil, -1, &wire.Failure{Code: wire.CodeNotFound, Text: "process of container " + m.Container}
	}
	defer syscall.Close(target)
	defer syscall.Close(pidns)
	terminal := -1
	if m.TTY {
		if pty, terminal, err = openPTY(c.process.pid, m.TTYOwner); err != nil {
			return nil, -1, errnoFailure("open a terminal of the container", err)
		}
		defer syscall.Close(terminal)
		if c.process.signal(0) != nil || c.process.gone() { // the number might have been another's by then
			closeFD(&pty)
			return nil, -1, &wire.Failure{Code: wire.CodeNotFound, Text: "process of container " + m.Container}
		}
	}
	s := k.borrow(files)
	defer k.giveBack(s)
	s.slots[program.SlotTarget] = int32(target)
	s.slots[program.SlotTTY] = int32(terminal)
	k.mu.Lock()
	k.sandboxes[c.sandbox].fill(&s.slots)
	k.mu.Unlock()
	made, fail := k.spawn(s, &birth{
		flags: uintptr(m.Flags), cgroup: m.CgroupDir, pidns: pidns, opening: k.opening, program: prog, executes: true, timeout: timeout(m.Timeout),
	})
	if fail != nil {
		closeFD(&pty)
		return nil, -1, fail
	}
	return made.process, pty, nil
}

// gone tells whether the process has been reaped.
func (p *process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// target is a copy of the pidfd and the pid namespace of a running process.
func (p *process) target() (pidfd, pidns int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.pidfd < 0 {
		return -1, -1, syscall.ESRCH
	}
	if pidns, err = open("/proc/"+itoa(p.pid)+"/ns/pid", syscall.O_RDONLY, 0); err != nil {
		return -1, -1, err
	}
	if pidfd, err = dup(p.pidfd); err == nil {
		err = pidfdSignal(pidfd, 0) // it lives, so what was opened by its number is its own
		if err != nil {
			syscall.Close(pidfd)
		}
	}
	if err != nil {
		syscall.Close(pidns)
	}
	return pidfd, pidns, err
}

const (
	tiocgptpeer = 0x5441
	tiocsptlck  = 0x40045431

	resolveNoMagiclinks = 2
	resolveInRoot       = 0x10
)

// openPTY opens a new terminal of the container's own devpts. Its path is resolved inside the container's root, whatever links are there,
// and it must be what it claims to be: the image may have put anything at /dev/pts.
func openPTY(pid int, owner uint32) (master, terminal int, err error) {
	root, err := open("/proc/"+itoa(pid)+"/root", 0x200000|syscall.O_DIRECTORY, 0)
	if err != nil {
		return -1, -1, err
	}
	defer syscall.Close(root)
	path, _ := syscall.BytePtrFromString("dev/pts/ptmx")
	how := [3]uint64{syscall.O_RDWR | syscall.O_NOCTTY | syscall.O_CLOEXEC | syscall.O_NONBLOCK, 0, resolveInRoot | resolveNoMagiclinks}
	fd, _, e := syscall.Syscall6(sysOpenat2, uintptr(root), uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, 0)
	if e != 0 {
		return -1, -1, e
	}
	master = int(fd)
	defer func() {
		if err != nil {
			closeFD(&master)
		}
	}()
	var st syscall.Stat_t
	if err := syscall.Fstat(master, &st); err != nil {
		return -1, -1, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFCHR || st.Rdev != 5<<8|2 {
		return -1, -1, syscall.ENOTTY
	}
	unlock := int32(0)
	if err := ioctl(master, tiocsptlck, uintptr(unsafe.Pointer(&unlock))); err != nil {
		return -1, -1, err
	}
	n, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(master), tiocgptpeer, syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC)
	if e != 0 {
		return -1, -1, e
	}
	terminal = int(n)
	if err := syscall.Fchown(terminal, int(owner), -1); err != nil {
		syscall.Close(terminal)
		return -1, -1, err
	}
	return master, terminal, nil
}
