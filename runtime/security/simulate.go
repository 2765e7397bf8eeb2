package security

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// setupCall is a call whose fate under a filter is asked for.
type setupCall struct {
	name string
	nr   uint32
	args [6]uint64
}

// callsBeforeExec are what a container's set-up calls between a filter that is installed early and the program.
func callsBeforeExec() []setupCall {
	return []setupCall{
		{name: "prctl(PR_CAPBSET_DROP)", nr: unix.SYS_PRCTL, args: [6]uint64{unix.PR_CAPBSET_DROP}},
		{name: "prctl(PR_SET_KEEPCAPS)", nr: unix.SYS_PRCTL, args: [6]uint64{unix.PR_SET_KEEPCAPS, 1}},
		{name: "setgroups", nr: unix.SYS_SETGROUPS},
		{name: "setresgid", nr: unix.SYS_SETRESGID},
		{name: "setresuid", nr: unix.SYS_SETRESUID},
		{name: "capset", nr: unix.SYS_CAPSET},
		{name: "prctl(PR_CAP_AMBIENT)", nr: unix.SYS_PRCTL, args: [6]uint64{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL}},
		{name: "chdir", nr: unix.SYS_CHDIR},
		{name: "fchdir", nr: unix.SYS_FCHDIR},
		{name: "close_range", nr: unix.SYS_CLOSE_RANGE, args: [6]uint64{3, 0xffff_ffff, unix.CLOSE_RANGE_CLOEXEC}},
		{name: "execve", nr: unix.SYS_EXECVE},
	}
}

// CheckBeforeDrop returns an error that names the first call the filter denies of those a container's set-up makes after a filter that is
// installed before privileges are dropped, which is the order without no_new_privs. A nil filter denies nothing.
func CheckBeforeDrop(filter []byte) error {
	if len(filter) == 0 {
		return nil
	}
	call, err := firstDenied(filter, callsBeforeExec())
	if err == nil && call != "" {
		err = fmt.Errorf("it does not allow %s; with allowPrivilegeEscalation: false the filter goes on later and need not", call)
	}
	if err != nil {
		return fmt.Errorf("cannot use the seccomp profile for a container that may gain privileges: %w", err)
	}
	return nil
}

// firstDenied names the first of the calls that a filter does not let pass; "" when there is none.
func firstDenied(filter []byte, calls []setupCall) (string, error) {
	for _, c := range calls {
		verdict, err := simulate(filter, nativeArch, c.nr, c.args)
		if err != nil {
			return "", err
		}
		if a := verdict & unix.SECCOMP_RET_ACTION_FULL; a != unix.SECCOMP_RET_ALLOW && a != unix.SECCOMP_RET_LOG {
			return c.name, nil
		}
	}
	return "", nil
}

// simulate runs a filter on one call. The interpreter loads big-endian words where the kernel loads native ones, so each half is laid out
// for it at the place the filter looks.
func simulate(filter []byte, arch, nr uint32, args [6]uint64) (uint32, error) {
	var program []bpf.Instruction
	for at := 0; at+8 <= len(filter); at += 8 {
		program = append(program, bpf.RawInstruction{
			Op: binary.NativeEndian.Uint16(filter[at:]), Jt: filter[at+2], Jf: filter[at+3], K: binary.NativeEndian.Uint32(filter[at+4:]),
		}.Disassemble())
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		return 0, fmt.Errorf("cannot interpret the filter: %w", err)
	}
	data := make([]byte, offsetArgs+8*len(args))
	binary.BigEndian.PutUint32(data[offsetNR:], nr)
	binary.BigEndian.PutUint32(data[offsetArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offsetArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[offsetArgs+8*i+4:], uint32(a>>32))
	}
	verdict, err := vm.Run(data)
	if err != nil {
		return 0, fmt.Errorf("cannot interpret the filter: %w", err)
	}
	return uint32(verdict), nil
}
