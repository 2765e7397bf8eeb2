// Package preflight looks once at what this machine offers and says, for each thing berth needs, what follows and what to do.
package preflight

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables"
)

// Level is how much a finding matters.
type Level string

// The levels: all is well, something is weaker, berth cannot run.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is one line of the screen.
type Finding struct {
	Name        string `json:"name"`
	Level       Level  `json:"level"`
	Found       string `json:"found"`
	Consequence string `json:"consequence,omitempty"`
	Remedy      string `json:"remedy,omitempty"`
}

// Machine is where the facts come from; tests give another root than "/".
type Machine struct {
	Root     string
	StateDir string
	Kernel   string
	// Tables lists nftables tables, or says why it cannot.
	Tables func() error
	UID    int
}

// This is the machine the program runs on.
func This(stateDir string) Machine {
	return Machine{Root: "/", StateDir: stateDir, Kernel: kernelRelease(), UID: os.Geteuid(), Tables: func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		_, err = c.ListTables()
		return err
	}}
}

// Check looks at everything, in the order a reader cares about.
func (m Machine) Check() []Finding {
	return []Finding{
		m.root(), m.kernel(), m.cgroups(), m.overlay(), m.userNamespaces(), m.nftables(), m.forwarding(),
		m.disk(), m.inotify(), m.resources(), m.engines(),
	}
}

// Worst is the highest level among findings.
func Worst(findings []Finding) Level {
	worst := OK
	for _, f := range findings {
		if f.Level == Fail || f.Level == Warn && worst == OK {
			worst = f.Level
		}
	}
	return worst
}

// Print writes one screen.
func Print(w io.Writer, findings []Finding, color bool) {
	for _, f := range findings {
		fmt.Fprintf(w, "%s %-16s %s\n", mark(f.Level, color), f.Name, f.Found)
		if f.Consequence != "" {
			fmt.Fprintf(w, "     %-16s -> %s\n", "", f.Consequence)
		}
		if f.Remedy != "" {
			fmt.Fprintf(w, "     %-16s -> %s\n", "", f.Remedy)
		}
	}
}

func mark(l Level, color bool) string {
	text := map[Level]string{OK: "ok  ", Warn: "warn", Fail: "FAIL"}[l]
	if !color {
		return text
	}
	return map[Level]string{OK: "\x1b[32m", Warn: "\x1b[33m", Fail: "\x1b[31m"}[l] + text + "\x1b[0m"
}

func (m Machine) root() Finding {
	f := Finding{Name: "root", Level: OK, Found: fmt.Sprintf("uid %d", m.UID)}
	if m.UID != 0 {
		f.Level, f.Consequence, f.Remedy = Fail, "namespaces, cgroups and mounts need root", "run berth with sudo"
	}
	return f
}

// minKernel is what the spawn path needs: clone3 into a cgroup (5.7), close_range (5.11), mount_setattr (5.12); 5.15 is the oldest that is tested.
const minKernel = "5.15"

func (m Machine) kernel() Finding {
	f := Finding{Name: "kernel", Level: OK, Found: "Linux " + m.Kernel}
	if !atLeast(m.Kernel, 5, 12) {
		f.Level, f.Consequence, f.Remedy = Fail, "containers cannot be started: mount_setattr is missing", "use Linux "+minKernel+" or newer"
	} else if !atLeast(m.Kernel, 5, 15) {
		f.Level, f.Consequence = Warn, "older than "+minKernel+", the oldest that berth is tested on"
	}
	return f
}

func (m Machine) cgroups() Finding {
	f := Finding{Name: "cgroups", Level: OK}
	var v1 []string
	var v2 string
	for _, line := range m.lines("proc/self/mountinfo") {
		fields := strings.Fields(line)
		if len(fields) < 7 {
			continue
		}
		kind, super := fields[len(fields)-3], fields[len(fields)-1]
		switch kind {
		case "cgroup2":
			v2 = fields[4]
		case "cgroup":
			v1 = append(v1, super)
		}
	}
	joined := strings.Join(v1, ",")
	switch {
	case v2 == "" && len(v1) == 0:
		f.Level, f.Found, f.Consequence, f.Remedy = Fail, "none mounted", "no limits, no sure kill", "mount -t cgroup2 none /sys/fs/cgroup"
	case len(v1) == 0:
		f.Found = "v2 at " + v2
		have, err := os.ReadFile(m.path(v2, "cgroup.controllers"))
		for _, c := range []string{"cpu", "memory", "pids"} {
			if err == nil && !slices.Contains(strings.Fields(string(have)), c) {
				f.Level, f.Consequence, f.Remedy = Warn, c+" limits are not enforced: the controller is off", "boot with cgroup_enable="+c
			}
		}
	default:
		f.Found = "v1, and v2 at " + v2
		if v2 == "" {
			f.Found = "v1"
		}
		for _, c := range []string{"cpu", "memory", "pids"} {
			if !strings.Contains(joined, c) {
				f.Level, f.Consequence = Warn, c+" limits are not enforced: no hierarchy has the controller"
			}
		}
	}
	return f
}

func (m Machine) overlay() Finding {
	f := Finding{Name: "overlayfs", Level: OK, Found: "available"}
	for _, line := range m.lines("proc/filesystems") {
		if strings.HasSuffix(line, "overlay") {
			return f
		}
	}
	if _, err := os.Stat(m.path("lib/modules", m.Kernel, "kernel/fs/overlayfs")); err == nil {
		f.Found = "as a module, loaded when needed"
		return f
	}
	f.Level, f.Found, f.Consequence, f.Remedy = Fail, "not in /proc/filesystems", "containers have no root file system", "modprobe overlay"
	return f
}

func (m Machine) userNamespaces() Finding {
	f := Finding{Name: "user namespaces", Level: OK, Found: "available"}
	switch {
	case m.number("proc/sys/user/max_user_namespaces", 1) == 0:
		f.Level, f.Found = Warn, "switched off"
		f.Consequence, f.Remedy = "pods with hostUsers: false are refused", "sysctl -w user.max_user_namespaces=15000"
	case !atLeast(m.Kernel, 5, 19):
		f.Level, f.Found = Warn, "overlayfs cannot map ids before Linux 5.19"
		f.Consequence = "pods with hostUsers: false are refused; all others are not concerned"
	}
	return f
}

func (m Machine) nftables() Finding {
	f := Finding{Name: "nftables", Level: OK, Found: "available"}
	if err := m.Tables(); err != nil {
		f.Level, f.Found = Fail, err.Error()
		f.Consequence, f.Remedy = "pods have no way out", "modprobe nf_tables, or a kernel with CONFIG_NF_TABLES"
	}
	return f
}

func (m Machine) forwarding() Finding {
	f := Finding{Name: "forwarding", Level: OK, Found: "net.ipv4.ip_forward is on"}
	if m.number("proc/sys/net/ipv4/ip_forward", 1) == 0 {
		f.Found = "net.ipv4.ip_forward is off"
		f.Consequence = "berth turns it on when the first pod needs it"
	}
	return f
}

// diskReserve and a tenth of the disk, whichever is less, are never filled: below that nothing is pulled or unpacked.
const diskReserve = 1 << 30

func (m Machine) disk() Finding {
	f := Finding{Name: "free disk", Level: OK}
	dir := m.StateDir
	var st syscall.Statfs_t
	for syscall.Statfs(dir, &st) != nil && dir != "/" {
		dir = filepath.Dir(dir)
	}
	free, total := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	f.Found = fmt.Sprintf("%.1f GB of %.1f GB at %s", float64(free)/1e9, float64(total)/1e9, dir)
	if free < min(total/10, diskReserve) {
		f.Level, f.Consequence = Warn, "less than 10 % and less than 1 GB free: images are not pulled, what runs goes on"
		f.Remedy = "berth image prune, or --state-dir on a larger disk"
	}
	return f
}

func (m Machine) inotify() Finding {
	instances := m.number("proc/sys/fs/inotify/max_user_instances", 128)
	watches := m.number("proc/sys/fs/inotify/max_user_watches", 8192)
	f := Finding{Name: "inotify", Level: OK, Found: fmt.Sprintf("%d instances, %d watches", instances, watches)}
	if instances < 16 || watches < 1024 {
		f.Level, f.Consequence = Warn, "changes of files may be seen late: berth looks every few seconds when inotify is exhausted"
		f.Remedy = "sysctl -w fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=262144"
	}
	return f
}

// capSysResource is the number of CAP_SYS_RESOURCE, see capability.h.
const capSysResource = 24

func (m Machine) resources() Finding {
	f := Finding{Name: "capabilities", Level: OK, Found: "CAP_SYS_RESOURCE is there"}
	for _, line := range m.lines("proc/self/status") {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err == nil && mask&(1<<capSysResource) == 0 {
			f.Level, f.Found = Warn, "CAP_SYS_RESOURCE is missing"
			f.Consequence = "limits on open files cannot be raised, and berth cannot protect itself from the OOM killer"
		}
	}
	return f
}

// engines are other programs that manage containers, with the path that shows them at work.
var engines = []struct{ name, socket string }{
	{"docker", "run/docker.sock"},
	{"containerd", "run/containerd/containerd.sock"},
	{"podman", "run/podman/podman.sock"},
	{"k3s", "run/k3s/containerd/containerd.sock"},
	{"CRI-O", "run/crio/crio.sock"},
	{"kubelet", "var/lib/kubelet/pki"},
}

func (m Machine) engines() Finding {
	f := Finding{Name: "other engines", Level: OK, Found: "none"}
	var found []string
	for _, e := range engines {
		if _, err := os.Stat(m.path(e.socket)); err == nil {
			found = append(found, e.name)
		}
	}
	if len(found) > 0 {
		f.Found = strings.Join(found, ", ")
		f.Consequence = "they and berth leave each other alone; a forward policy of theirs may drop pod traffic"
	}
	return f
}

func (m Machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.Root}, parts...)...)
}

func (m Machine) lines(name string) []string {
	file, err := os.Open(m.path(name))
	if err != nil {
		return nil
	}
	defer file.Close()
	var out []string
	for s := bufio.NewScanner(file); s.Scan(); {
		out = append(out, s.Text())
	}
	return out
}

func (m Machine) number(name string, fallback int) int {
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		return fallback
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return fallback
	}
	return n
}

func kernelRelease() string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return "unknown"
	}
	var b strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

func atLeast(release string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}
