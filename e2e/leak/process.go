package leak

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

type process struct {
	pid     int
	start   string // clock ticks since boot: with the pid it names one process
	state   string
	cmdline string
}

func (p process) key() string { return fmt.Sprintf("%d:%s", p.pid, p.start) }

func (p process) describe() string {
	if p.state == "Z" {
		return "zombie " + p.cmdline
	}
	return p.cmdline
}

// processes lists every process but the kernel's threads. What ends while it looks is left out.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

func readProcess(pid int) (process, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return process{}, false
	}
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	f := strings.Fields(string(stat[end+1:]))
	const state, ppid, flags, start = 0, 1, 6, 19 // fields 3, 4, 9 and 22 of proc(5)
	const kernelThread = 0x00200000
	if len(f) <= start {
		return process{}, false
	}
	if n, _ := strconv.ParseUint(f[flags], 10, 64); n&kernelThread != 0 {
		return process{}, false
	}
	p := process{pid: pid, start: f[start], state: f[state]}
	cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	p.cmdline = strings.ReplaceAll(string(bytes.TrimRight(cmdline, "\x00")), "\x00", " ")
	if p.cmdline == "" {
		p.cmdline = string(stat[open : end+1])
	}
	return p, true
}

// takeNamespaces counts the namespaces that a process or thread is in, or that a descriptor or mount holds, and the mounts of every
// mount namespace that can be reached.
func takeNamespaces(procs []process, s Snapshot) {
	self := os.Getpid()
	mounts := map[string]bool{}
	for _, p := range procs {
		dir := filepath.Join("/proc", strconv.Itoa(p.pid))
		who := fmt.Sprintf("process %d %s", p.pid, p.cmdline)
		tasks, _ := filepath.Glob(filepath.Join(dir, "task", "*", "ns", "*"))
		for _, link := range tasks {
			target, err := os.Readlink(link)
			if err != nil {
				continue
			}
			s[Namespace][target] = who
			if filepath.Base(link) == "mnt" && !mounts[target] {
				mounts[target] = takeMounts(filepath.Join(filepath.Dir(filepath.Dir(link)), "mountinfo"), target, s)
			}
		}
		if p.pid == self {
			continue // what the test itself holds is its own affair
		}
		fds, _ := filepath.Glob(filepath.Join(dir, "fd", "*"))
		for _, link := range fds {
			if target, err := os.Readlink(link); err == nil && isNamespace(target) {
				s[Namespace][target] = "a descriptor of " + who
			}
		}
	}
}

func isNamespace(target string) bool {
	kind, rest, ok := strings.Cut(target, ":[")
	if !ok || !strings.HasSuffix(rest, "]") {
		return false
	}
	switch kind {
	case "net", "mnt", "pid", "pid_for_children", "ipc", "uts", "user", "cgroup", "time", "time_for_children":
		return true
	}
	return false
}

// takeMounts reads one mountinfo. A mount of nsfs holds a namespace, which counts too.
func takeMounts(file, ns string, s Snapshot) bool {
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		sep := -1
		for i, w := range f {
			if w == "-" {
				sep = i
				break
			}
		}
		if sep < 6 || len(f) < sep+3 {
			continue
		}
		id, root, point, fstype, source := f[0], f[3], f[4], f[sep+1], f[sep+2]
		s[Mount][ns+" "+id+" "+point] = fmt.Sprintf("%s %s of %s", fstype, root, source)
		if fstype == "nsfs" {
			s[Namespace][root] = "mounted at " + point
		}
	}
	return true
}
