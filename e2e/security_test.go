package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// defaultCaps are CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT.
const defaultCaps = 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<18

func caps(t *testing.T, v view, set string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(v.Status[set], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func tries(b *harness.Berth, pod, call string) string {
	b.Helper()
	return strings.TrimSpace(b.Must("exec", pod, "--", "/bin/tool", "syscall", call))
}

// A Pod that says nothing about security is confined all the same.
func TestSecureByDefault(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	t.Setenv("SECRET_OF_HOST", "visible")
	b.Write("p.yaml", pod("p", run("sleep")).String())
	b.Up()
	p := b.UntilPod("p", "to run", running)
	v := inspect(t, b, "p")
	for _, set := range []string{"CapBnd", "CapPrm", "CapEff"} {
		if got := caps(t, v, set); got != defaultCaps {
			t.Errorf("%s %x, want %x", set, got, uint64(defaultCaps))
		}
	}
	for _, set := range []string{"CapInh", "CapAmb"} {
		if got := caps(t, v, set); got != 0 {
			t.Errorf("%s %x", set, got)
		}
	}
	if v.Status["Seccomp"] != "2" {
		t.Errorf("seccomp mode %q of an exec'd program", v.Status["Seccomp"])
	}
	first, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Container("main").PID))
	if err != nil || !strings.Contains(string(first), "Seccomp:\t2\n") || !strings.Contains(string(first), "CapInh:\t0000000000000000\n") {
		t.Errorf("the container's first process: %s, %v", first, err)
	}
	for _, call := range []string{"mount", "unshare", "mknod", "reboot", "afalg", "raw", "proc"} {
		if got := tries(b, "p", call); strings.HasSuffix(got, ": done") {
			t.Errorf("%s was allowed", call)
		}
	}
	if got := tries(b, "p", "write"); got != "write: done" {
		t.Errorf("the root file system: %s", got)
	}
	for _, want := range []string{" /proc proc ", " /sys sysfs ro", " /dev/shm tmpfs ", " /dev/pts devpts ", " /proc/sys proc ro"} {
		if !strings.Contains(v.Mounts, want) {
			t.Errorf("no mount like %q in:\n%s", want, v.Mounts)
		}
	}
	if r := b.CLI("exec", "p", "--", "cat", "/proc/kcore"); r.Stdout != "" {
		t.Error("/proc/kcore can be read")
	}
	for _, e := range v.Env {
		if strings.Contains(e, "SECRET_OF_HOST") {
			t.Error("the controller's environment is visible")
		}
	}
}

// What a manifest states about security is what the program sees.
func TestSecurityContext(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("user.yaml", manifest{
		name: "user", replicas: -1, main: run("sleep") + ", securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}" +
			", volumeMounts: [{name: e, mountPath: /e}]",
		pod: "securityContext: {runAsGroup: 1234, fsGroup: 4321, supplementalGroups: [77]}, volumes: [{name: e, emptyDir: {}}]",
	}.String())
	b.Write("caps.yaml", pod("caps", run("sleep")+", securityContext: {capabilities: {add: [NET_RAW, SYS_TIME], drop: [CHOWN]}}").String())
	b.Write("free.yaml", pod("free", run("sleep")+", securityContext: {privileged: true}").String())
	b.Write("open.yaml", pod("open", run("sleep")+", securityContext: {seccompProfile: {type: Unconfined}}").String())
	b.Up()
	for _, name := range []string{"user", "caps", "free", "open"} {
		b.UntilPod(name, "to run", running)
	}
	v := inspect(t, b, "user")
	if v.UID != 1000 || v.GID != 1234 || !slices.Contains(v.Groups, 4321) || !slices.Contains(v.Groups, 77) {
		t.Errorf("uid %d gid %d groups %v", v.UID, v.GID, v.Groups)
	}
	if caps(t, v, "CapBnd") != 0 || caps(t, v, "CapEff") != 0 || v.Status["NoNewPrivs"] != "1" {
		t.Errorf("bounding %s effective %s no_new_privs %s", v.Status["CapBnd"], v.Status["CapEff"], v.Status["NoNewPrivs"])
	}
	if got := tries(b, "user", "write"); !strings.Contains(got, "read-only") {
		t.Errorf("the root file system: %s", got)
	}
	if r := b.CLI("exec", "user", "--", "sh", "-c", "touch /e/mine && ls -ln /e"); r.Code != 0 || !strings.Contains(r.Stdout, "4321") {
		t.Errorf("the volume of group 4321: %s%s", r.Stdout, r.Stderr)
	}
	if got, want := caps(t, inspect(t, b, "caps"), "CapEff"), uint64(defaultCaps&^1|1<<13|1<<25); got != want {
		t.Errorf("capabilities %x, want %x", got, want)
	}
	if got := tries(b, "free", "mknod"); got != "mknod: done" {
		t.Errorf("privileged: %s", got)
	}
	if v := inspect(t, b, "open"); v.Status["Seccomp"] != "0" {
		t.Errorf("unconfined: seccomp mode %s", v.Status["Seccomp"])
	}
}

// Sharing the machine's namespaces is asked for, and then it is so; a pid namespace for the pod shows the other containers.
func TestSharedNamespaces(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	share := func(name, field string) string {
		m := pod(name, run("sleep"))
		m.pod = field + ", terminationGracePeriodSeconds: 1"
		m.more = []string{"{name: second, " + run("stubborn") + "}"}
		return m.String()
	}
	for name, field := range map[string]string{"net": "hostNetwork: true", "pid": "hostPID: true", "ipc": "hostIPC: true", "share": "shareProcessNamespace: true"} {
		b.Write(name+".yaml", share(name, field))
	}
	b.Up()
	for _, name := range []string{"net", "pid", "ipc"} {
		p := b.UntilPod(name, "to run", running)
		own, _ := os.Readlink("/proc/self/ns/" + name)
		if its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.Container("main").PID, name)); err != nil || its != own {
			t.Errorf("host%s: %s, the machine has %s (%v)", name, its, own, err)
		}
	}
	b.UntilPod("share", "to run", running)
	r := b.Must("exec", "share", "-c", "main", "--", "ps")
	if !strings.Contains(r, "stubborn") {
		t.Errorf("the other container's process is not seen:\n%s", r)
	}
}

// A pod with a user namespace of its own is root inside and nobody outside.
func TestOwnUserNamespace(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	m := pod("u", run("sleep"))
	m.pod = "hostUsers: false, volumes: [{name: e, emptyDir: {}}]"
	m.main += ", volumeMounts: [{name: e, mountPath: /e}]"
	b.Write("u.yaml", m.String())
	b.Up()
	p := b.UntilPod("u", "to run", running)
	v := inspect(t, b, "u")
	if v.UID != 0 {
		t.Errorf("uid %d inside", v.UID)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Container("main").PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "Uid:" && f[1] == "0" {
			t.Errorf("root outside: %s", line)
		}
	}
	if f := strings.Fields(v.UIDMap); len(f) != 3 || f[0] != "0" || f[1] == "0" || f[2] != "65536" {
		t.Errorf("map %q", v.UIDMap)
	}
	if r := b.CLI("exec", "u", "--", "sh", "-c", "touch /root/x /e/x && stat -c %u /root/x /e/x"); strings.TrimSpace(r.Stdout) != "0\n0" {
		t.Errorf("files of root inside: %q %s", r.Stdout, r.Stderr)
	}
	if r := b.CLI("exec", "u", "--", "sh", "-c", "chown 1000 /root/x && ping -c 1 -W 1 127.0.0.1 >/dev/null; hostname other"); r.Code == 0 {
		t.Log("the host name can be set: CAP_SYS_ADMIN is in the set")
	}
}

// A limit on processes holds without being asked for.
func TestProcessLimit(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("fork.yaml", pod("fork", run("sleep")).String())
	b.Up()
	p := b.UntilPod("fork", "to run", running)
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Container("main").PID))
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for line := range strings.Lines(strings.TrimSpace(string(data))) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		root := "/sys/fs/cgroup"
		if f[1] == "pids" {
			root += "/pids"
		} else if f[1] != "" {
			continue
		}
		for dir := f[2]; dir != "/" && dir != "."; dir = dir[:strings.LastIndex(dir, "/")] {
			if max, err := os.ReadFile(root + dir + "/pids.max"); err == nil && strings.TrimSpace(string(max)) == "4096" {
				found = root + dir
			}
			if strings.LastIndex(dir, "/") <= 0 {
				break
			}
		}
	}
	if found == "" || !strings.Contains(found, p.UID) {
		t.Errorf("no group of the pod has pids.max 4096: %q of %s", found, data)
	}
}
