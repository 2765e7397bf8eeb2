package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"berth/e2e/harness"
)

// step is a system call with an effect on the machine, in which the product is to be killed.
type step struct {
	name  string
	calls []string
	// path is a part of the first path among the arguments, when only such a call is meant.
	path string
	// link is true when a netlink message must make or change a link.
	link bool
	// removal: the change that leads to this call is a removal.
	removal bool
}

var steps = []step{
	{name: "clone", calls: []string{"clone", "clone3", "fork", "vfork"}},
	{name: "mount", calls: []string{"mount", "move_mount"}},
	{name: "cgroup", calls: []string{"mkdir", "mkdirat"}, path: "/sys/fs/cgroup"},
	{name: "veth", calls: []string{"sendto", "sendmsg"}, link: true},
	{name: "rename", calls: []string{"rename", "renameat", "renameat2"}},
	{name: "unlink", calls: []string{"unlink", "unlinkat", "rmdir"}, removal: true},
}

// numbers of the calls above; those an architecture has not are left out.
var numbers = map[string]map[string]int{
	"amd64": {
		"clone": 56, "clone3": 435, "fork": 57, "vfork": 58, "mount": 165, "move_mount": 429, "mkdir": 83, "mkdirat": 258, "sendto": 44,
		"sendmsg": 46, "rename": 82, "renameat": 264, "renameat2": 316, "unlink": 87, "unlinkat": 263, "rmdir": 84, "fsync": 74,
		"fdatasync": 75, "syncfs": 306, "umount2": 166, "execve": 59, "execveat": 322, "openat": 257, "read": 0, "write": 1, "wait4": 61,
	},
	"arm64": {
		"clone": 220, "clone3": 435, "mount": 40, "move_mount": 429, "mkdirat": 34, "sendto": 206, "sendmsg": 211, "renameat": 38,
		"renameat2": 276, "unlinkat": 35, "fsync": 82, "fdatasync": 83, "syncfs": 267, "umount2": 39, "execve": 221, "execveat": 281,
		"openat": 56, "read": 63, "write": 64, "wait4": 260,
	},
}

func callName(number string) (string, bool) {
	n, err := strconv.Atoi(number)
	if err != nil {
		return "", false
	}
	for name, k := range numbers[goruntime.GOARCH] {
		if k == n {
			return name, true
		}
	}
	return "", false
}

// killInside lets a tracer hold the product in a system call of this step, and kills it there. With after, the call has had its effect.
func (c *chaos) killInside(s step, after bool) string {
	c.t.Helper()
	side, when := "delay_enter", "before"
	if after {
		side, when = "delay_exit", "after"
	}
	var set []string
	for _, call := range s.calls {
		set = append(set, "?"+call)
	}
	calls := strings.Join(set, ",")
	// Long enough to be seen and killed, short enough not to matter when it is another call of the same kind.
	tracer := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+calls, "-e", "inject="+calls+":"+side+"=100000",
		"-p", strconv.Itoa(c.up.PID()), "-p", strconv.Itoa(c.Keeper()))
	if err := tracer.Start(); err != nil {
		c.t.Fatalf("cannot trace (make deps installs strace): %v", err)
	}
	defer func() { _ = tracer.Process.Kill(); _ = tracer.Wait() }()
	keeper, controller := c.Keeper(), c.up.PID()
	c.Until("the tracer", func() error {
		for _, pid := range []int{keeper, controller} {
			if status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); !strings.Contains(string(status), fmt.Sprintf("TracerPid:\t%d\n", tracer.Process.Pid)) {
				return fmt.Errorf("process %d is not traced", pid)
			}
		}
		return nil
	})
	if s.removal {
		delete(c.replicas, "a")
	} else {
		c.replicas["a"] += 2
		c.text++
	}
	c.write()
	// The first few calls of a kind are the same every time: go further in, by chance.
	skip, seen := c.rnd.IntN(3), map[string]bool{}
	found := ""
	_ = harness.Poll(harness.Patience, func() error {
		hit, id := c.held(s)
		if hit == "" || seen[id] {
			return fmt.Errorf("not yet")
		}
		if seen[id] = true; skip > 0 {
			skip--
			return fmt.Errorf("a later one")
		}
		found = hit
		return nil
	})
	targets := []string{"controller", "keeper", "both"}[c.rnd.IntN(3)]
	switch {
	case strings.HasPrefix(found, "controller"):
		targets = []string{"controller", "both"}[c.rnd.IntN(2)]
	case strings.HasPrefix(found, "keeper"), strings.HasPrefix(found, "child"):
		targets = []string{"keeper", "both"}[c.rnd.IntN(2)]
	}
	if targets != "controller" {
		_ = syscall.Kill(keeper, syscall.SIGKILL)
	}
	if targets != "keeper" {
		_ = syscall.Kill(controller, syscall.SIGKILL)
	}
	_ = tracer.Process.Kill()
	_ = tracer.Wait()
	if targets != "keeper" {
		c.up.Kill()
	}
	if found != "" {
		c.hit[s.name]++
	}
	c.revive()
	return fmt.Sprintf("%s killed %s %s took effect: %s", targets, when, s.name, found)
}

// held looks for a thread that a tracer holds in a call of the step.
func (c *chaos) held(s step) (what, id string) {
	var wanted []int
	for _, call := range s.calls {
		if n, ok := numbers[goruntime.GOARCH][call]; ok {
			wanted = append(wanted, n)
		}
	}
	files, _ := filepath.Glob("/proc/[0-9]*/task/*/syscall")
	for _, f := range files {
		dir := filepath.Dir(f)
		text, err := os.ReadFile(f)
		fields := strings.Fields(string(text))
		if err != nil || len(fields) < 9 {
			continue
		}
		number, err := strconv.Atoi(fields[0])
		if err != nil || !slices.Contains(wanted, number) || !traced(dir) {
			continue
		}
		args := make([]uint64, 6)
		for i := range args {
			args[i], _ = strconv.ParseUint(strings.TrimPrefix(fields[i+1], "0x"), 16, 64)
		}
		detail, ok := c.matches(s, dir, fields[0], args)
		if !ok {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
		role := "child of the keeper"
		switch pid {
		case c.up.PID():
			role = "controller"
		case c.Keeper():
			role = "keeper"
		}
		name, _ := callName(fields[0])
		return fmt.Sprintf("%s in %s %s", role, name, detail), dir + fields[0] + fields[7] + detail
	}
	return "", ""
}

func traced(task string) bool {
	stat, err := os.ReadFile(filepath.Join(task, "stat"))
	if err != nil {
		return false
	}
	rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
	return strings.HasPrefix(rest, " t")
}

// matches looks at the arguments in the memory of the held thread.
func (c *chaos) matches(s step, task, number string, args []uint64) (detail string, ok bool) {
	memory, err := os.Open(filepath.Join(task, "mem"))
	if err != nil {
		return "", false
	}
	defer memory.Close()
	if s.link {
		message := read(memory, args[1], 32)
		if n, _ := strconv.Atoi(number); n == numbers[goruntime.GOARCH]["sendmsg"] {
			// struct msghdr: the iovec's address is at 16, and there the buffer's.
			head := read(memory, args[1], 24)
			if len(head) < 24 {
				return "", false
			}
			vec := read(memory, binary.LittleEndian.Uint64(head[16:]), 16)
			if len(vec) < 16 {
				return "", false
			}
			message = read(memory, binary.LittleEndian.Uint64(vec), 32)
		}
		if len(message) < 32 {
			return "", false
		}
		const newLink = 16 // RTM_NEWLINK
		return "RTM_NEWLINK", binary.LittleEndian.Uint16(message[4:]) == newLink && binary.LittleEndian.Uint32(message) < 4096
	}
	for _, at := range args[:2] { // path, or directory and path
		if text, _, found := strings.Cut(string(read(memory, at, 512)), "\x00"); found && len(text) > 1 {
			return text, s.path == "" || strings.Contains(text, s.path)
		}
	}
	return "", s.path == ""
}

func read(memory *os.File, at uint64, n int) []byte {
	if at < 4096 {
		return nil
	}
	buf := make([]byte, n)
	k, _ := memory.ReadAt(buf, int64(at))
	return buf[:k]
}
