package preflight

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a good machine on which each case changes one thing.
func machine(t *testing.T) (Machine, map[string]string) {
	t.Helper()
	return Machine{Root: t.TempDir(), StateDir: t.TempDir(), Kernel: "6.1.0-30-amd64", Tables: func() error { return nil }}, map[string]string{
		"proc/self/mountinfo":                    "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
		"sys/fs/cgroup/cgroup.controllers":       "cpuset cpu io memory pids\n",
		"proc/filesystems":                       "nodev\tproc\nnodev\toverlay\n",
		"proc/sys/user/max_user_namespaces":      "100\n",
		"proc/sys/net/ipv4/ip_forward":           "1\n",
		"proc/sys/fs/inotify/max_user_instances": "128\n",
		"proc/sys/fs/inotify/max_user_watches":   "65536\n",
		"proc/self/status":                       "CapEff:\t000001ffffffffff\n",
	}
}

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		mutate func(*Machine, map[string]string)
		name   string
		level  Level
		says   string
	}{
		"a good machine":       {name: "cgroups", level: OK, says: "v2"},
		"not root":             {func(m *Machine, _ map[string]string) { m.UID = 1000 }, "root", Fail, "sudo"},
		"an old kernel":        {func(m *Machine, _ map[string]string) { m.Kernel = "5.4.0" }, "kernel", Fail, "mount_setattr"},
		"kernel without idmap": {func(m *Machine, _ map[string]string) { m.Kernel = "5.15.0" }, "user namespaces", Warn, "5.19"},
		"no cgroups":           {func(_ *Machine, f map[string]string) { f["proc/self/mountinfo"] = "" }, "cgroups", Fail, "mount -t cgroup2"},
		"memory is off": {
			func(_ *Machine, f map[string]string) { f["sys/fs/cgroup/cgroup.controllers"] = "cpu pids\n" },
			"cgroups", Warn, "cgroup_enable=memory",
		},
		"hybrid": {func(_ *Machine, f map[string]string) {
			f["proc/self/mountinfo"] += "31 23 0:27 / /sys/fs/cgroup/x rw - cgroup cgroup rw,cpu,memory,pids\n"
		}, "cgroups", OK, "v1, and v2"},
		"no overlay": {func(_ *Machine, f map[string]string) { f["proc/filesystems"] = "nodev\tproc\n" }, "overlayfs", Fail, "modprobe"},
		"no nftables": {func(m *Machine, _ map[string]string) {
			m.Tables = func() error { return errors.New("no such protocol") }
		}, "nftables", Fail, "nf_tables"},
		"not forwarding":  {func(_ *Machine, f map[string]string) { f["proc/sys/net/ipv4/ip_forward"] = "0\n" }, "forwarding", OK, "turns it on"},
		"few watches":     {func(_ *Machine, f map[string]string) { f["proc/sys/fs/inotify/max_user_watches"] = "10\n" }, "inotify", Warn, "sysctl"},
		"no sys_resource": {func(_ *Machine, f map[string]string) { f["proc/self/status"] = "CapEff:\t000001fffeffffff\n" }, "capabilities", Warn, "OOM"},
		"docker is there": {func(_ *Machine, f map[string]string) { f["run/docker.sock"] = "" }, "other engines", OK, "docker"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m, files := machine(t)
			if tc.mutate != nil {
				tc.mutate(&m, files)
			}
			for path, text := range files {
				full := filepath.Join(m.Root, path)
				if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range m.Check() {
				if f.Name != tc.name {
					continue
				}
				if f.Level != tc.level {
					t.Errorf("level of %q = %s, want %s: %+v", f.Name, f.Level, tc.level, f)
				}
				if all := f.Found + f.Consequence + f.Remedy; !strings.Contains(all, tc.says) {
					t.Errorf("%q does not say %q", all, tc.says)
				}
			}
		})
	}
}
