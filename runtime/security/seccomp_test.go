package security

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

const (
	allow  = unix.SECCOMP_RET_ALLOW
	eperm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

func mustFilter(t *testing.T, caps uint64) []byte {
	t.Helper()
	filter, err := Filter(runtime.Seccomp{}, caps, "")
	if err != nil {
		t.Fatal(err)
	}
	return filter
}

func TestDefaultFilterTable(t *testing.T) {
	const namespaces = unix.CLONE_NEWUSER
	tests := map[string]struct {
		caps, arch, nr uint64
		args           [6]uint64
		want           uint32
	}{
		"read":                        {nr: unix.SYS_READ, want: allow},
		"execve":                      {nr: unix.SYS_EXECVE, want: allow},
		"io_uring_setup":              {nr: unix.SYS_IO_URING_SETUP, want: eperm},
		"io_uring_enter":              {nr: unix.SYS_IO_URING_ENTER, want: eperm},
		"io_uring_register":           {nr: unix.SYS_IO_URING_REGISTER, want: eperm},
		"keyctl":                      {nr: unix.SYS_KEYCTL, want: eperm},
		"add_key":                     {nr: unix.SYS_ADD_KEY, want: eperm},
		"request_key":                 {nr: unix.SYS_REQUEST_KEY, want: eperm},
		"userfaultfd":                 {nr: unix.SYS_USERFAULTFD, want: eperm},
		"bpf":                         {nr: unix.SYS_BPF, want: eperm},
		"perf_event_open":             {nr: unix.SYS_PERF_EVENT_OPEN, want: eperm},
		"mount":                       {nr: unix.SYS_MOUNT, want: eperm},
		"unshare":                     {nr: unix.SYS_UNSHARE, want: eperm},
		"setns":                       {nr: unix.SYS_SETNS, want: eperm},
		"kexec_load":                  {nr: unix.SYS_KEXEC_LOAD, want: eperm},
		"open_by_handle_at":           {nr: unix.SYS_OPEN_BY_HANDLE_AT, want: eperm},
		"clone3 makes libc fall back": {nr: unix.SYS_CLONE3, want: enosys},
		"clone thread":                {nr: unix.SYS_CLONE, args: [6]uint64{unix.CLONE_VM | unix.CLONE_THREAD}, want: allow},
		"clone user namespace":        {nr: unix.SYS_CLONE, args: [6]uint64{namespaces}, want: eperm},
		"clone with SYS_ADMIN":        {caps: 1 << unix.CAP_SYS_ADMIN, nr: unix.SYS_CLONE, args: [6]uint64{namespaces}, want: allow},
		"mount with SYS_ADMIN":        {caps: 1 << unix.CAP_SYS_ADMIN, nr: unix.SYS_MOUNT, want: allow},
		"io_uring with SYS_ADMIN":     {caps: 1 << unix.CAP_SYS_ADMIN, nr: unix.SYS_IO_URING_SETUP, want: eperm},
		"socket unix":                 {nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_UNIX}, want: allow},
		"socket inet6":                {nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_INET6}, want: allow},
		"socket 39":                   {nr: unix.SYS_SOCKET, args: [6]uint64{39}, want: allow},
		"socket xdp":                  {nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_XDP}, want: allow},
		"socket alg":                  {nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_ALG}, want: eperm},
		"socket vsock":                {nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_VSOCK}, want: eperm},
		"socket alg, high bits":       {nr: unix.SYS_SOCKET, args: [6]uint64{1<<32 | unix.AF_ALG}, want: eperm},
		"socket vsock, high bits":     {nr: unix.SYS_SOCKET, args: [6]uint64{1<<63 | unix.AF_VSOCK}, want: eperm},
		"socket vsock, SYS_ADMIN":     {caps: 1 << unix.CAP_SYS_ADMIN, nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_VSOCK}, want: eperm},
		"personality":                 {nr: unix.SYS_PERSONALITY, args: [6]uint64{0xffffffff}, want: allow},
		"personality other":           {nr: unix.SYS_PERSONALITY, args: [6]uint64{0x40000}, want: eperm},
		"a number nobody has":         {nr: 3000, want: eperm},
		"the last number":             {nr: 0x3fffffff, want: eperm},
		"another architecture":        {arch: unix.AUDIT_ARCH_PPC64LE, nr: unix.SYS_READ, want: enosys},
		"32-bit x86":                  {arch: unix.AUDIT_ARCH_I386, nr: 102, want: enosys},
		"32-bit arm":                  {arch: unix.AUDIT_ARCH_ARM, nr: 102, want: enosys},
	}
	if x32Bit != 0 {
		tests["x32"] = struct {
			caps, arch, nr uint64
			args           [6]uint64
			want           uint32
		}{nr: x32Bit | unix.SYS_READ, want: enosys}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.arch == 0 {
				tt.arch = nativeArch
			}
			got, err := simulate(mustFilter(t, defaultCapabilities|tt.caps), uint32(tt.arch), uint32(tt.nr), tt.args)
			if err != nil || got != tt.want {
				t.Errorf("got %#x, %v, want %#x", got, err, tt.want)
			}
		})
	}
}

// TestOperators compares every operator with its meaning on values around the borders of the halves.
func TestOperators(t *testing.T) {
	values := []uint64{0, 1, 2, 0x7fffffff, 0xfffffffe, 0xffffffff, 1 << 32, 1<<32 + 1, 5<<32 - 1, 5 << 32, 5<<32 + 7, 1 << 63, 1<<64 - 2, 1<<64 - 1}
	operators := map[specs.LinuxSeccompOperator]func(arg, value, two uint64) bool{
		specs.OpEqualTo:      func(a, v, _ uint64) bool { return a == v },
		specs.OpNotEqual:     func(a, v, _ uint64) bool { return a != v },
		specs.OpLessThan:     func(a, v, _ uint64) bool { return a < v },
		specs.OpLessEqual:    func(a, v, _ uint64) bool { return a <= v },
		specs.OpGreaterThan:  func(a, v, _ uint64) bool { return a > v },
		specs.OpGreaterEqual: func(a, v, _ uint64) bool { return a >= v },
		specs.OpMaskedEqual:  func(a, v, two uint64) bool { return a&v == two },
	}
	for op, holds := range operators {
		for _, value := range values {
			two := value &^ 2
			filter, err := compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{
				Names: []string{"read"}, Action: specs.ActErrno,
				// The second test stands behind the first, so that a failed first one has to jump over it.
				Args: []specs.LinuxSeccompArg{{Index: 3, Value: value, ValueTwo: two, Op: op}, {Index: 5, Value: 9, Op: specs.OpEqualTo}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			for _, arg := range values {
				want := uint32(allow)
				if holds(arg, value, two) {
					want = eperm
				}
				got, err := simulate(filter, nativeArch, unix.SYS_READ, [6]uint64{3: arg, 5: 9})
				if err != nil || got != want {
					t.Errorf("%#x %s %#x (%#x): got %#x, %v, want %#x", arg, op, value, two, got, err, want)
				}
				if got, _ := simulate(filter, nativeArch, unix.SYS_READ, [6]uint64{3: arg}); got != allow {
					t.Errorf("%#x %s %#x: the second argument is not looked at", arg, op, value)
				}
			}
		}
	}
}

// TestSearchFindsEveryCall gives every call an answer of its own and asks for each, and for the numbers between.
func TestSearchFindsEveryCall(t *testing.T) {
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	want := map[uint32]uint32{}
	for i, s := range syscallTable {
		errno := uint(i + 2)
		profile.Syscalls = append(profile.Syscalls, specs.LinuxSyscall{Names: []string{s.name}, Action: specs.ActErrno, ErrnoRet: &errno})
		want[s.nr] = unix.SECCOMP_RET_ERRNO | uint32(errno)
	}
	filter, err := compile(profile)
	if err != nil {
		t.Fatal(err)
	}
	for nr := range uint32(600) {
		expected, ok := want[nr]
		if !ok {
			expected = eperm
		}
		if got, err := simulate(filter, nativeArch, nr, [6]uint64{}); err != nil || got != expected {
			t.Errorf("call %d: got %#x, %v, want %#x", nr, got, err, expected)
		}
	}
}

func TestRulesOfOneCall(t *testing.T) {
	arg := func(i uint, v uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: i, Value: v, Op: specs.OpEqualTo}
	}
	tests := map[string]struct {
		calls []specs.LinuxSyscall
		args  [6]uint64
		want  uint32
	}{
		"all arguments must hold":        {[]specs.LinuxSyscall{{Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, 1), arg(1, 2)}}}, [6]uint64{1, 3}, eperm},
		"all arguments hold":             {[]specs.LinuxSyscall{{Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, 1), arg(1, 2)}}}, [6]uint64{1, 2}, allow},
		"one argument twice is either":   {[]specs.LinuxSyscall{{Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, 1), arg(0, 2)}}}, [6]uint64{2}, allow},
		"a condition beats no condition": {[]specs.LinuxSyscall{{Action: specs.ActAllow}, {Action: specs.ActKillProcess, Args: []specs.LinuxSeccompArg{arg(0, 1)}}}, [6]uint64{1}, unix.SECCOMP_RET_KILL_PROCESS},
		"the stricter plain one counts":  {[]specs.LinuxSyscall{{Action: specs.ActAllow}, {Action: specs.ActKillProcess}, {Action: specs.ActLog}}, [6]uint64{}, unix.SECCOMP_RET_KILL_PROCESS},
		"the first condition counts":     {[]specs.LinuxSyscall{{Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg(0, 1)}}, {Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{arg(0, 1)}}}, [6]uint64{1}, allow},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for i := range tt.calls {
				tt.calls[i].Names = []string{"read"}
			}
			filter, err := compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: tt.calls})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := simulate(filter, nativeArch, unix.SYS_READ, tt.args); err != nil || got != tt.want {
				t.Errorf("got %#x, %v, want %#x", got, err, tt.want)
			}
		})
	}
}

func TestLocalhostProfiles(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside.json")
	ok := `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod","fchmod","fchmodat"],"action":"SCMP_ACT_ERRNO"}]}`
	files := map[string]string{
		"ok.json":        ok,
		"empty.json":     "",
		"braces.json":    "{}",
		"null.json":      "null",
		"two.json":       ok + ok,
		"big.json":       strings.Repeat(" ", 1<<20) + ok,
		"typo.json":      `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmodd"],"action":"SCMP_ACT_ERRNO"}]}`,
		"field.json":     `{"defaultAction":"SCMP_ACT_ALLOW","syscallz":[]}`,
		"action.json":    `{"defaultAction":"SCMP_ACT_NOTIFY"}`,
		"operator.json":  `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"op":"SCMP_CMP_X"}]}]}`,
		"index.json":     `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}`,
		"noexec.json":    `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["execve"],"action":"SCMP_ACT_ERRNO"}]}`,
		"sub/inner.json": ok,
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside, []byte(ok), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{ // path → part of the error, "" for none
		"ok.json": "", "sub/inner.json": "",
		"": "empty", "missing.json": "no such file", "../" + filepath.Base(dir) + "/ok.json": "escapes", outside: "escapes", "link.json": "escapes",
		"empty.json": "EOF", "braces.json": "defaultAction", "null.json": "defaultAction", "two.json": "more in the file", "big.json": "larger",
		"typo.json": "chmodd", "field.json": "syscallz", "action.json": "SCMP_ACT_NOTIFY", "operator.json": "SCMP_CMP_X", "index.json": "argument 6",
		"noexec.json": "execve", "fifo.json": "regular", "sub": "regular",
	}
	for path, want := range tests {
		t.Run(path, func(t *testing.T) {
			filter, err := Filter(runtime.Seccomp{Type: "Localhost", LocalhostProfile: path}, 0, dir)
			switch {
			case want == "" && (err != nil || len(filter) == 0):
				t.Errorf("got %d bytes, %v", len(filter), err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("got %d bytes, %v, want an error with %q", len(filter), err, want)
			case want != "" && filter != nil:
				t.Error("a filter beside the error")
			}
		})
	}
	if f, err := Filter(runtime.Seccomp{Type: "Unconfined"}, 0, dir); f != nil || err != nil {
		t.Errorf("Unconfined: got %d bytes, %v", len(f), err)
	}
	if _, err := Filter(runtime.Seccomp{Type: "runtimedefault"}, 0, dir); err == nil {
		t.Error("an unknown type is accepted")
	}
}

func TestCheckBeforeDrop(t *testing.T) {
	for _, caps := range []uint64{0, defaultCapabilities, 1<<41 - 1} {
		if err := CheckBeforeDrop(mustFilter(t, caps)); err != nil {
			t.Errorf("the default filter with capabilities %x: %v", caps, err)
		}
	}
	if err := CheckBeforeDrop(nil); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"setgroups", "setresuid", "setresgid", "capset", "prctl", "chdir", "fchdir", "close_range", "execve"} {
		filter, err := compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{name}, Action: specs.ActErrno}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckBeforeDrop(filter); err == nil || !strings.Contains(err.Error(), "allow "+name) {
			t.Errorf("without %s: got %v", name, err)
		}
	}
}

func TestFilterIsCompiledOnce(t *testing.T) {
	a, b := mustFilter(t, 77), mustFilter(t, 77)
	if &a[0] != &b[0] {
		t.Error("compiled twice")
	}
	if n := len(a) / 8; n > 600 {
		t.Errorf("%d instructions: every system call of every container pays for the longer search", n)
	}
}

func TestTableIsSorted(t *testing.T) {
	if !slices.IsSortedFunc(syscallTable, func(a, b syscallNumber) int { return strings.Compare(a.name, b.name) }) {
		t.Error("numberOf searches a table that is not sorted")
	}
}

func TestKernelAgrees(t *testing.T) {
	calls := map[string]unix.Errno{
		fmt.Sprint(unix.SYS_GETPID):                                           0,
		fmt.Sprintf("%d,%d,5,0", unix.SYS_SOCKET, unix.AF_ALG):                unix.EPERM,
		fmt.Sprintf("%d,%#x,5,0", unix.SYS_SOCKET, uint64(1)<<32|unix.AF_ALG): unix.EPERM,
		fmt.Sprintf("%d,%d,1,0", unix.SYS_SOCKET, unix.AF_VSOCK):              unix.EPERM,
		fmt.Sprintf("%d,%d,1,0", unix.SYS_SOCKET, unix.AF_UNIX):               0,
		fmt.Sprintf("%d,8,0", unix.SYS_IO_URING_SETUP):                        unix.EPERM,
		fmt.Sprintf("%d,%d", unix.SYS_UNSHARE, unix.CLONE_NEWUSER):            unix.EPERM,
		fmt.Sprintf("%d,0,0", unix.SYS_CLONE3):                                unix.ENOSYS,
		fmt.Sprintf("%d,0,0,0,0,0", unix.SYS_KEYCTL):                          unix.EPERM,
		fmt.Sprint(0x3000_0000):                                               unix.EPERM,
	}
	if x32Bit != 0 {
		calls[fmt.Sprint(x32Bit|unix.SYS_GETPID)] = unix.ENOSYS
	}
	var args []string
	for c := range calls {
		args = append(args, c)
	}
	out, err := filtered(t, mustFilter(t, defaultCapabilities), "calls", args...)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Fields(out)
	for i, c := range args {
		if want := fmt.Sprint(int(calls[c])); i >= len(lines) || lines[i] != want {
			t.Errorf("call %s: got %v, want errno %s", c, lines, want)
		}
	}
}

func TestProgramsRunUnderTheFilter(t *testing.T) {
	for _, mode := range []string{"exec", "early"} {
		if mode == "early" && os.Geteuid() != 0 {
			t.Fatal("the order without no_new_privs needs root: run it as root (make root)")
		}
		out, err := filtered(t, mustFilter(t, defaultCapabilities), mode, "/bin/sh", "-c", "echo one | cat; (id -u); ls / >/dev/null && echo two")
		if err != nil || !strings.HasPrefix(out, "one\n") || !strings.HasSuffix(out, "two\n") {
			t.Errorf("%s: %v: %s", mode, err, out)
		}
		if mode == "early" && !strings.Contains(out, "\n1000\n") {
			t.Errorf("the user was not dropped: %s", out)
		}
	}
}
