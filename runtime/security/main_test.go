package security

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be its own guinea pig: with childFilter set it puts that filter on itself and does as it is told.
func TestMain(m *testing.M) {
	if path := os.Getenv(childFilter); path != "" {
		if err := child(path, os.Args[1], os.Args[2:]); err != nil {
			fmt.Println(err)
			os.Exit(90)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const childFilter = "BERTH_TEST_FILTER"

// child puts a filter on its thread and then: "calls" tries calls NR,ARG… and prints their errnos; "exec" starts a program; "early" drops
// everything after the filter, as a container's set-up without no_new_privs does, and starts a program.
func child(path, mode string, args []string) error {
	filter, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	goruntime.LockOSThread()
	if mode != "early" {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	if len(filter) > 0 {
		if err := install(filter); err != nil {
			return fmt.Errorf("seccomp: %w", err)
		}
	}
	switch mode {
	case "calls":
		for _, a := range args {
			fmt.Println(int(call(a)))
		}
		return nil
	case "early":
		if err := drop(); err != nil {
			return err
		}
	}
	return syscall.Exec(args[0], args, nil)
}

func install(filter []byte) error {
	program := unix.SockFprog{Len: uint16(len(filter) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

func call(text string) syscall.Errno {
	var n [7]uintptr
	for i, part := range strings.Split(text, ",") {
		v, err := strconv.ParseUint(part, 0, 64)
		if err != nil {
			panic(err)
		}
		n[i] = uintptr(v)
	}
	_, _, errno := unix.RawSyscall6(n[0], n[1], n[2], n[3], n[4], n[5], n[6])
	return errno
}

func drop() error {
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	for _, c := range []string{
		fmt.Sprintf("%d,0,0", unix.SYS_SETGROUPS),
		fmt.Sprintf("%d,1000,1000,1000", unix.SYS_SETRESGID),
		fmt.Sprintf("%d,1000,1000,1000", unix.SYS_SETRESUID),
		fmt.Sprintf("%d,3,0xffffffff,4", unix.SYS_CLOSE_RANGE),
	} {
		if errno := call(c); errno != 0 {
			return fmt.Errorf("call %s: %w", c, errno)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return os.Chdir("/")
}

// filtered runs this test binary under a filter.
func filtered(t *testing.T, filter []byte, mode string, args ...string) (string, error) {
	t.Helper()
	path := t.TempDir() + "/filter"
	if err := os.WriteFile(path, filter, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", append([]string{mode}, args...)...)
	cmd.Env = append(os.Environ(), childFilter+"="+path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
