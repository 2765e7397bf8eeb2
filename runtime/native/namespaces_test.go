package native

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

func TestUserNamespace(t *testing.T) {
	m := newMachine(t)
	host := t.TempDir()
	must(t, os.Chmod(host, 0o755))
	must(t, os.WriteFile(filepath.Join(host, "file"), []byte("from the host\n"), 0o600))
	box := runtime.SandboxConfig{
		UserNamespace: true, FSGroup: new(int64(2000)), ShareMemory: true,
		Volumes: []runtime.Volume{
			{Name: "disk", EmptyDir: &runtime.EmptyDir{}},
			{Name: "memory", EmptyDir: &runtime.EmptyDir{Memory: true}},
			{Name: "host", HostPath: &runtime.HostPath{Path: host}},
			{Name: "config", Files: &runtime.Files{Hash: "1a", Entries: []runtime.File{{Path: "key", Data: []byte("value\n"), Mode: 0o600}}}},
		},
	}
	m.sandbox(t, box)
	cfg := script(`awk '{print $1, $3}' /proc/self/uid_map; id -u; stat -L -c '%u:%g' / /bin/busybox /dev /dev/null /disk /memory /config/key /host/file /etc/hosts
		cat /config/key /host/file; echo x > /host/new; echo y > /disk/f; echo z > /memory/f; echo w > /dev/shm/f; chown 5:6 /disk/f; rm /bin/ls; echo > /dev/null
		mkdir /new; stat -c '%u' /new; mount -t tmpfs t /new 2>&1 | grep -c denied; hostname; grep -E '^(CapEff|Seccomp):' /proc/self/status | tr -d '\t'
		echo out > /dev/stdout; cat /proc/sys/net/ipv4/ping_group_range; ls -d /deep/er/sub`)
	cfg.Mounts = []runtime.Mount{
		{Volume: "disk", Path: "/disk"},
		{Volume: "memory", Path: "/memory"},
		{Volume: "host", Path: "/host"},
		{Volume: "config", Path: "/config"},
		{Volume: "disk", SubPath: "sub", Path: "/deep/er/sub"},
	}
	out, st := m.output(t, cfg)
	want := "0 65536\n0\n0:0\n0:0\n0:0\n0:0\n0:2000\n0:2000\n0:2000\n0:0\n0:0\nvalue\nfrom the host\n0\n1\nweb\nCapEff:00000000000405fb\nSeccomp:2\nout\n0\t65535\n/deep/er/sub\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("output (-want +got):\n%s\n%+v", diff, st)
	}
	base := m.pod("pod").IDBase
	for file, uid := range map[string]uint32{
		filepath.Join(host, "new"):                                     0,
		filepath.Join(m.dirs.volumes("pod"), "disk/f"):                 base + 5,
		filepath.Join(m.dirs.container("pod", "main.0"), "upper/new"):  base,
		filepath.Join(m.dirs.container("pod", "main.0"), "upper/deep"): base,
	} {
		info, err := os.Lstat(file)
		must(t, err)
		if got := info.Sys().(*syscall.Stat_t).Uid; got != uid {
			t.Errorf("%s belongs to %d, want %d", file, got, uid)
		}
	}
	// A user other than root, a further process, and a second pod with ids of its own.
	cfg = script("id -u; echo ok > /dev/stderr; sleep 1000")
	cfg.Attempt, cfg.Security.User = 1, new(int64(1000))
	st, err := m.StartContainer(t.Context(), "pod", cfg)
	must(t, err)
	m.awaitLog(t, st.LogPath, "ok")
	var b strings.Builder
	if code, err := m.Exec(t.Context(), "pod", "main", runtime.ExecConfig{Command: []string{"sh", "-c", "id -u; cat /proc/self/uid_map"}, Stdout: &b}); err != nil || code != 0 || !strings.HasPrefix(b.String(), "1000\n         0 ") {
		t.Errorf("Exec = %d, %v, %q", code, err, b.String())
	}
	b.Reset()
	if code, err := m.Exec(t.Context(), "pod", "main", runtime.ExecConfig{Command: []string{"tty"}, Stdout: &b, TTY: true}); err != nil || code != 0 {
		t.Errorf("Exec with a terminal = %d, %v, %q", code, err, b.String())
	}
	box.UID = "second"
	m.sandbox(t, box)
	if other := m.pod("second").IDBase; other == base || other == 0 {
		t.Errorf("two pods have the ids from %d and %d", base, other)
	}
	m.reopen(t)
	if got := m.pod("pod").IDBase; got != base {
		t.Errorf("after reopening the pod has the ids from %d, not %d", got, base)
	}
	if _, err := m.RunSandbox(t.Context(), runtime.SandboxConfig{UID: "third", UserNamespace: true, HostNetwork: true}); err == nil {
		t.Error("a user namespace with the machine's network was made")
	}
}

func TestUserTerminal(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{UserNamespace: true})
	cfg := script("tty; stat -c %u $(tty)")
	cfg.TTY = true
	cfg.Security.User = new(int64(1000))
	if out, st := m.output(t, cfg); strings.ReplaceAll(out, "\r", "") != "/dev/pts/0\n1000\n" {
		t.Errorf("output %q, %+v", out, st)
	}
}

func TestMachineNamespaces(t *testing.T) {
	m := newMachine(t)
	name, err := os.Hostname()
	must(t, err)
	link := func(kind string) string {
		s, err := os.Readlink("/proc/self/ns/" + kind)
		must(t, err)
		return s
	}
	m.sandbox(t, runtime.SandboxConfig{HostNetwork: true, HostPID: true, HostIPC: true})
	out, _ := m.output(t, script(`hostname; readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid; test $$ != 1 && echo host`))
	if want := strings.Join([]string{name, link("net"), link("ipc"), link("pid"), "host", ""}, "\n"); out != want {
		t.Errorf("output %q, want %q", out, want)
	}
	if st, _ := m.Status(t.Context(), "pod"); st.Sandbox.IP != "" {
		t.Errorf("a pod on the machine's network has the address %s", st.Sandbox.IP)
	}
	// What a container without a pid namespace of its own leaves behind ends with it, and the next attempt begins in a clean group.
	for attempt := range uint32(3) {
		cfg := script("sleep 1000 & sleep 1000 & exit 0")
		cfg.Attempt = 1 + attempt
		m.output(t, cfg)
	}
}

func TestSharedPID(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{SharePID: true})
	other := script("exec sleep 1234")
	other.Name = "other"
	if _, err := m.StartContainer(t.Context(), "pod", other); err != nil {
		t.Fatal(err)
	}
	if out, _ := m.output(t, script("ps -o args | grep -c '^sleep 1234'; test $$ != 1 && echo shared")); out != "1\nshared\n" {
		t.Errorf("output %q", out)
	}
}

func TestPrivileged(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	cfg := script(`grep -E '^(CapEff|Seccomp):' /proc/self/status | tr -d '\t'; echo 0 > /proc/sys/net/ipv4/ip_forward && echo written; mount -t tmpfs t /tmp && echo mounted`)
	cfg.Security.Privileged = true
	out, _ := m.output(t, cfg)
	if !strings.Contains(out, "Seccomp:0\nwritten\nmounted\n") {
		t.Errorf("output %q", out)
	}
}

func TestSysctls(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{Sysctls: map[string]string{"net.core.somaxconn": "77", "kernel.shm_rmid_forced": "1"}})
	if out, _ := m.output(t, script("cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shm_rmid_forced")); out != "77\n1\n" {
		t.Errorf("output %q", out)
	}
	for name, value := range map[string]string{
		"kernel.core_pattern": "|/bin/sh", "vm.swappiness": "0", "net.ipv4/../../kernel/panic": "1", "net.core.somaxconn": "1\n2", "kernel.shm.": "1",
	} {
		_, err := m.RunSandbox(t.Context(), runtime.SandboxConfig{UID: "bad", Sysctls: map[string]string{name: value}})
		if err == nil {
			t.Errorf("sysctl %q = %q was accepted", name, value)
		}
		if _, err := m.Status(t.Context(), "bad"); err == nil {
			t.Errorf("a refused pod is left")
		}
	}
}

// A state directory on an overlay, as berth inside another container has it, cannot show files with other ids.
func TestUserNamespaceUnsupported(t *testing.T) {
	m := newMachineIn(t, func(dir string) {
		for _, d := range []string{"lower", "upper", "work", "state"} {
			must(t, os.MkdirAll(filepath.Join(dir, d), 0o700))
		}
		options := "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
		must(t, syscall.Mount("overlay", filepath.Join(dir, "state"), "overlay", 0, options))
		t.Cleanup(func() { must(t, syscall.Unmount(filepath.Join(dir, "state"), syscall.MNT_DETACH)) })
	})
	for range 2 {
		_, err := m.RunSandbox(t.Context(), runtime.SandboxConfig{UID: "pod", UserNamespace: true})
		if !errors.Is(err, runtime.ErrNotSupported) {
			t.Errorf("RunSandbox = %v, want ErrNotSupported", err)
		}
		if _, err := m.Status(t.Context(), "pod"); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("Status of a refused pod = %v", err)
		}
	}
}
