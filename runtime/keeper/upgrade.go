package keeper

import (
	"syscall"
	"unsafe"

	"berth/runtime/keeper/earliest"
	"berth/runtime/keeper/wire"
)

// upgrade executes another binary in our place. The descriptor that came along is the binary. Connections end (and what was started by exec
// through them); pid, children, containers, sandboxes and all their descriptors stay. Requests under way are finished first.
func (r *request) upgrade(files []int) {
	defer func() { closeAll(files) }()
	k := r.k
	var m wire.Upgrade
	wire.Decode(r.packet, &m)
	switch {
	case len(files) != 1:
		r.fail(invalid("an upgrade needs the binary"))
		return
	case m.Probe != probeText():
		r.fail(invalid("the new binary cannot read the state of this one: " + quote(m.Probe)))
		return
	}
	k.upgrading.Lock()
	defer k.upgrading.Unlock()
	var err error
	k.loop.call(func() { err = k.replace(files[0]) })
	// Still here: the old binary goes on.
	r.fail(errnoFailure("execute the new binary", err))
}

// replace does not return when it succeeds. It runs on the loop: no output is moved, no event told meanwhile.
func (k *keeper) replace(binary int) error {
	exe, err := readOnly("/proc/self/fd/" + itoa(binary))
	if err != nil {
		if exe, err = dup(binary); err != nil {
			return err
		}
	}
	defer syscall.Close(exe)
	k.mu.Lock() // also keeps the reaper from taking a child that the state says is alive
	defer k.mu.Unlock()
	s := k.capture()
	fd, err := memfd("berth-keeper-state", 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	for p := wire.Encode(0, 0, s); len(p) > 0; {
		n, err := syscall.Write(fd, p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	s.descriptors(inherit)
	inherit(fd)
	for c := range k.conns { // what belongs to a connection ends with it
		c.mu.Lock()
		for _, p := range c.execs {
			p.killAll()
		}
		c.mu.Unlock()
	}
	err = execute(exe, k.args, fd)
	s.descriptors(closeOnExec)
	raiseNoFile()
	return err
}

// raiseNoFile makes up for what a failed execution has put back.
func raiseNoFile() {
	limit := earliest.NoFile()
	limit.Cur = limit.Max
	_, _, _ = syscall.RawSyscall6(sysPrlimit, 0, syscall.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
}
