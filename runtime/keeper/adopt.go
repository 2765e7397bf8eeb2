package keeper

import (
	"errors"
	"syscall"
	"time"
	"unsafe"

	"berth/runtime/keeper/wire"
)

// adopt takes a process over that a killed keeper left. It is not our child: its end is seen through its pidfd.
func (r *request) adopt() {
	var m wire.Adopt
	wire.Decode(r.packet, &m)
	r.answer(r.k.adopt(&m))
}

func (k *keeper) adopt(m *wire.Adopt) (fail *wire.Failure) {
	if !validID(m.ID) {
		return invalid("id " + quote(m.ID) + " is not one")
	}
	p, err := findProcess(m.PID, m.Ticks)
	if err != nil {
		return &wire.Failure{Code: wire.CodeNotFound, Text: "process of container " + m.ID}
	}
	c := &container{id: m.ID, sandbox: m.Sandbox, exitPath: m.ExitPath, log: m.Log, pty: -1, input: -1}
	k.mu.Lock()
	if k.containers[c.id] != nil {
		k.mu.Unlock()
		p.release()
		return &wire.Failure{Code: wire.CodeExists, Text: "container " + c.id}
	}
	k.containers[c.id] = c
	k.mu.Unlock()
	defer func() {
		if fail != nil {
			p.release()
			k.mu.Lock()
			delete(k.containers, c.id)
			k.mu.Unlock()
		}
	}()
	if fail := k.adoptSandbox(m, p); fail != nil {
		return fail
	}
	if c.output, fail = k.reopenOutput(&m.Log); fail != nil {
		return fail
	}
	k.mu.Lock()
	c.process, c.startedAt = p, time.Unix(0, m.StartedAt)
	k.mu.Unlock()
	if err := k.watchForeign(p); err != nil {
		return errnoFailure("wait for the process", err)
	}
	k.finishWhenEnded(c)
	return nil
}

// findProcess opens a process that is not a child, and makes sure that it is the one that was meant.
func findProcess(pid int, ticks uint64) (*process, error) {
	pidfd, err := pidfdOpen(pid)
	if err != nil {
		return nil, err
	}
	if ticks == 0 || startTicks(pid) != ticks || pidfdSignal(pidfd, 0) != nil {
		syscall.Close(pidfd)
		return nil, syscall.ESRCH
	}
	return &process{pid: pid, pidfd: pidfd, ticks: ticks, done: make(chan struct{}), foreign: true}, nil
}

// adoptSandbox makes the sandbox of an adopted process from the process's own namespaces, unless another has brought it already.
func (k *keeper) adoptSandbox(m *wire.Adopt, p *process) *wire.Failure {
	if m.Sandbox == "" {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sandboxes[m.Sandbox] != nil {
		return nil
	}
	box := newSandbox(m.Sandbox, uintptr(m.SandboxFlags)&sandboxFlags)
	if m.SandboxPID != 0 {
		first, err := findProcess(m.SandboxPID, m.SandboxTicks)
		if err == nil {
			box.first = first
			err = k.watchForeign(first)
		}
		if err != nil {
			box.close()
			return &wire.Failure{Code: wire.CodeNotFound, Text: "first process of sandbox " + m.Sandbox}
		}
	}
	err := box.open(p.pid)
	if err == nil {
		err = pidfdSignal(p.pidfd, 0) // it lived all the while, so what its number led to is its own
	}
	if err != nil {
		box.close()
		return &wire.Failure{Code: wire.CodeNotFound, Text: "namespaces of sandbox " + m.Sandbox}
	}
	box.ready = true
	k.sandboxes[m.Sandbox] = box
	return nil
}

// reopenOutput opens the FIFOs that an earlier keeper made; what was written meanwhile is in them.
func (k *keeper) reopenOutput(l *wire.Log) (*output, *wire.Failure) {
	o := &output{k: k}
	if l.Path != "" {
		o.file = newLogFile(l)
		if err := o.file.open(); err != nil {
			return nil, errnoFailure("open log "+l.Path, err)
		}
	}
	for i, path := range []string{l.Stdout, l.Stderr} {
		if path == "" {
			continue
		}
		if !below(k.runDir, path) {
			o.closeFiles()
			return nil, invalid("FIFO " + quote(path) + " is not below the run directory")
		}
		if fail := o.addFIFO(streamNames[i], path); fail != nil {
			o.closeFiles()
			return nil, fail
		}
	}
	k.loop.call(func() {
		for _, s := range o.streams {
			s.watch()
		}
	})
	return o, nil
}

// foreign waits for the end of a process that is not our child. Its exit status is only there, on Linux 6.15 and newer, when its parent has
// reaped it: the pidfd then reports a hang-up.
type foreign struct {
	k     *keeper
	hasty bool // that it has ended is all there is to know
	p     *process
	fd    int
	token int32
}

// reapPatience is how long after its death a process's own parent may take to reap it before its status counts as unknown.
const reapPatience = time.Second

func (k *keeper) watchForeign(p *process) error { return k.watchForeignEnd(p, false) }

func (k *keeper) watchForeignEnd(p *process, hasty bool) error {
	fd, err := dup(p.pidfd)
	if err != nil {
		return err
	}
	f := &foreign{k: k, hasty: hasty, p: p, fd: fd}
	k.loop.post(func() {
		if f.token, err = k.loop.add(fd, syscall.EPOLLIN, f); err != nil {
			complain("cannot wait for an adopted process", err)
		}
	})
	return nil
}

func (f *foreign) ready(events uint32) {
	status, known, supported := exitOf(f.fd)
	if known || !supported || f.hasty || events&syscall.EPOLLHUP != 0 {
		f.end(status, known)
		return
	}
	// Dead, not yet reaped: wait for the hang-up alone, which is always reported.
	f.k.loop.remove(f.token, f.fd)
	var err error
	if f.token, err = f.k.loop.add(f.fd, 0, f); err != nil {
		f.end(0, false)
		return
	}
	time.AfterFunc(reapPatience, func() { f.k.loop.post(func() { f.end(exitIfKnown(f.fd)) }) })
}

func (f *foreign) end(status syscall.WaitStatus, known bool) {
	if f.fd < 0 {
		return
	}
	f.k.loop.remove(f.token, f.fd)
	closeFD(&f.fd)
	f.p.end(status, known)()
}

func exitIfKnown(fd int) (syscall.WaitStatus, bool) {
	status, known, _ := exitOf(fd)
	return status, known
}

// exitOf asks the kernel how the process behind a pidfd ended.
func exitOf(fd int) (status syscall.WaitStatus, known, supported bool) {
	const (
		getInfo  = 0xC040FF0B // PIDFD_GET_INFO with the first, 64 bytes long, form of struct pidfd_info
		infoExit = 1 << 3
	)
	var info struct {
		mask, cgroup uint64
		ids          [11]uint32
		exitCode     int32
	}
	info.mask = infoExit
	err := ioctl(fd, getInfo, uintptr(unsafe.Pointer(&info)))
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return 0, false, false
	}
	return syscall.WaitStatus(info.exitCode), err == nil && info.mask&infoExit != 0, true
}
