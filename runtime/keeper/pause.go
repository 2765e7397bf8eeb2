package keeper

import (
	"encoding/binary"
	"errors"
	"syscall"

	"berth/runtime/keeper/program"
)

// pauseProgram is the program of the first process of a shared pid namespace: a complete static executable of some hundred bytes that sleeps
// for ever. SIGCHLD stays ignored across its execution, so the kernel reaps the pod's orphans without waking it. It lives in a memfd that
// nobody may read, which keeps the process out of reach of the pod's debuggers.
func pauseProgram() (int, error) {
	const mfdExec = 0x10 // Linux 6.3; needed where vm.memfd_noexec is 1
	fd, err := memfd("berth-pause", mfdExec)
	if errors.Is(err, syscall.EINVAL) {
		fd, err = memfd("berth-pause", 0)
	}
	if err != nil {
		return -1, err
	}
	if _, err := syscall.Write(fd, pauseELF()); err != nil {
		return -1, err
	}
	// A descriptor for writing would make its execution fail (ETXTBSY).
	ro, err := open("/proc/self/fd/"+itoa(fd), syscall.O_RDONLY, 0)
	if err == nil {
		err = syscall.Fchmod(fd, 0o111)
	}
	syscall.Close(fd)
	return ro, err
}

// pauseELF is an ELF header, one program header and the code.
func pauseELF() []byte {
	const base, head = 0x400000, 64 + 56
	le := binary.LittleEndian
	p := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	p = le.AppendUint16(p, 2) // executable
	p = le.AppendUint16(p, pauseMachine)
	p = le.AppendUint32(p, 1)
	for _, v := range []uint64{base + head, 64, 0} { // entry, program headers, no sections
		p = le.AppendUint64(p, v)
	}
	p = le.AppendUint32(p, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		p = le.AppendUint16(p, v)
	}
	size := uint64(head + len(pauseCode))
	p = le.AppendUint32(p, 1) // load
	p = le.AppendUint32(p, 5) // read, execute
	for _, v := range []uint64{0, base, base, size, size, 0x10000} {
		p = le.AppendUint64(p, v)
	}
	return append(p, pauseCode[:]...)
}

// keepAliveSteps end the set-up of a sandbox's first process: alone in an empty, read-only root, as nobody, it executes the pause program.
func keepAliveSteps(runDir, id string) (program.Program, []string, error) {
	var b program.Builder
	num := func(n int) program.Arg { return program.Imm(n) }
	nobody := num(65534)
	const over = "/proc" // a directory that is there and that anybody may pass through
	empty := b.String("")
	ignore := b.Words(num(1), num(0), num(0), num(0)) // struct sigaction: SIG_IGN
	b.Call("ignore the end of children", syscall.SYS_RT_SIGACTION, num(int(syscall.SIGCHLD)), ignore, num(0), num(8))
	b.Call("unshare the mount namespace", syscall.SYS_UNSHARE, num(cloneNewNS))
	b.Call("separate the mounts", syscall.SYS_MOUNT, empty, b.String("/"), empty, num(syscall.MS_REC|syscall.MS_PRIVATE), num(0))
	b.Call("mount an empty root", syscall.SYS_MOUNT, b.String("tmpfs"), b.String(over), b.String("tmpfs"),
		num(syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC|syscall.MS_RDONLY), b.String("size=4k,mode=555"))
	b.Call("go to the empty root", syscall.SYS_CHDIR, b.String(over))
	b.Call("pivot to the empty root", syscall.SYS_PIVOT_ROOT, b.String("."), b.String("."))
	b.Call("detach the old root", syscall.SYS_UMOUNT2, b.String("."), num(syscall.MNT_DETACH))
	b.Call("go to /", syscall.SYS_CHDIR, b.String("/"))
	b.Call("renounce new privileges", syscall.SYS_PRCTL, num(38), num(1), num(0), num(0), num(0))
	b.Call("drop groups", syscall.SYS_SETGROUPS, num(0), num(0)).Ignore = [3]syscall.Errno{syscall.EPERM}
	b.Call("become group nobody", syscall.SYS_SETRESGID, nobody, nobody, nobody).Ignore = [3]syscall.Errno{syscall.EINVAL}
	b.Call("become nobody", syscall.SYS_SETRESUID, nobody, nobody, nobody).Ignore = [3]syscall.Errno{syscall.EINVAL}
	b.Call("mark descriptors", sysCloseRange, num(0), num(maxFD), num(closeCloexec))
	argv := b.Strings([]string{"berth", "pause", "--run-dir", runDir, id})
	b.Call("execute the pause program", sysExecveat, program.Slot(slotPause), empty, argv, b.Strings(nil), num(atEmptyPath))
	p, err := program.Parse(b.Encode())
	return p, b.Names(), err
}
