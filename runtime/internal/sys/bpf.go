package sys

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfLoad is the part of union bpf_attr that BPF_PROG_LOAD reads here.
type bpfLoad struct {
	progType, insnCount uint32
	insns, license      uint64
	logLevel, logSize   uint32
	logBuf              uint64
	kernVersion, flags  uint32
}

// bpfAttach is the part of union bpf_attr that BPF_PROG_ATTACH reads here.
type bpfAttach struct {
	target, program, attachType, flags uint32
}

// LoadDeviceProgram gives the kernel an eBPF program (an array of struct bpf_insn) that judges opens and creations of device nodes.
func LoadDeviceProgram(insns []byte) (*FD, error) {
	license := []byte("Apache-2.0\x00")
	attr := bpfLoad{
		progType:  unix.BPF_PROG_TYPE_CGROUP_DEVICE,
		insnCount: uint32(len(insns) / 8),
		insns:     uint64(uintptr(unsafe.Pointer(&insns[0]))),
		license:   uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	n, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(insns)
	runtime.KeepAlive(license)
	if err != nil {
		return nil, err
	}
	return NewFD(n), nil
}

// AttachDeviceProgram puts a device program into force for a group of the v2 tree and all below it, beside those already there.
func AttachDeviceProgram(group, program *FD) error {
	attr := bpfAttach{
		target:     uint32(group.Int()),
		program:    uint32(program.Int()),
		attachType: unix.BPF_CGROUP_DEVICE,
		flags:      unix.BPF_F_ALLOW_MULTI,
	}
	_, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(group)
	runtime.KeepAlive(program)
	return err
}

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
	if errno != 0 {
		return -1, os.NewSyscallError("bpf", errno)
	}
	return int(n), nil
}
