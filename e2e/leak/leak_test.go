package leak

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/isolate"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) {
	os.Exit(isolate.Main(nil, m.Run))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sleeper starts a process that waits, in new namespaces, and returns its end.
func sleeper(t *testing.T, flags uintptr) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	must(t, cmd.Start())
	// The kernel lets the parent go on a moment before /proc shows the new program.
	cmdline := fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)
	for text := []byte(nil); !bytes.HasPrefix(text, []byte("sleep")); runtime.Gosched() {
		var err error
		text, err = os.ReadFile(cmdline)
		must(t, err)
	}
	return cmd.Process.Pid, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func bridge(t *testing.T) (*netlink.Bridge, func()) {
	t.Helper()
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "planted0"}}
	must(t, netlink.LinkAdd(b))
	return b, func() { must(t, netlink.LinkDel(b)) }
}

func hierarchyOf(t *testing.T, fstype string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[2] == fstype && !strings.Contains(f[3], "cpuset") {
			return f[1]
		}
	}
	return ""
}

// TestEachKindIsFound plants one thing of each kind, and wants it named, and nothing named once it is removed.
func TestEachKindIsFound(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		kind  Kind
		plant func(t *testing.T) (remove func())
		key   string // a part of the key or text
	}{
		"process": {Process, func(t *testing.T) func() { _, end := sleeper(t, 0); return end }, "sleep"},
		"zombie": {Process, func(t *testing.T) func() {
			cmd := exec.Command("true")
			must(t, cmd.Start())
			return func() { _ = cmd.Wait() }
		}, ""},
		"cgroup v1": {Cgroup, func(t *testing.T) func() { return plantCgroup(t, "cgroup") }, "planted"},
		"cgroup v2": {Cgroup, func(t *testing.T) func() { return plantCgroup(t, "cgroup2") }, "planted"},
		"mount": {Mount, func(t *testing.T) func() {
			must(t, os.MkdirAll(dir+"/m", 0o755))
			must(t, syscall.Mount("tmpfs", dir+"/m", "tmpfs", 0, ""))
			return func() { must(t, syscall.Unmount(dir+"/m", 0)) }
		}, dir + "/m"},
		"mount in another namespace": {Mount, func(t *testing.T) func() {
			cmd := exec.Command("sh", "-c", "mount -t tmpfs tmpfs /mnt && echo && exec sleep 1000")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			_, err = out.Read(make([]byte, 1))
			must(t, err)
			return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
		}, " /mnt"},
		"net namespace":  {Namespace, func(t *testing.T) func() { _, end := sleeper(t, syscall.CLONE_NEWNET); return end }, "net:["},
		"ipc namespace":  {Namespace, func(t *testing.T) func() { _, end := sleeper(t, syscall.CLONE_NEWIPC); return end }, "ipc:["},
		"pid namespace":  {Namespace, func(t *testing.T) func() { _, end := sleeper(t, syscall.CLONE_NEWPID); return end }, "pid:["},
		"user namespace": {Namespace, func(t *testing.T) func() { _, end := sleeper(t, syscall.CLONE_NEWUSER); return end }, "user:["},
		"namespace held by a mount": {Namespace, func(t *testing.T) func() {
			pid, end := sleeper(t, syscall.CLONE_NEWUTS)
			must(t, os.WriteFile(dir+"/uts", nil, 0o600))
			must(t, syscall.Mount(fmt.Sprintf("/proc/%d/ns/uts", pid), dir+"/uts", "", syscall.MS_BIND, ""))
			end()
			return func() { must(t, syscall.Unmount(dir+"/uts", 0)); must(t, os.Remove(dir+"/uts")) }
		}, "mounted at " + dir + "/uts"},
		"link": {Link, func(t *testing.T) func() { _, end := bridge(t); return end }, "planted0"},
		"address": {Address, func(t *testing.T) func() {
			b, end := bridge(t)
			a, err := netlink.ParseAddr("198.18.77.1/24")
			must(t, err)
			must(t, netlink.AddrAdd(b, a))
			return end
		}, "198.18.77.1/24 on planted0"},
		"route": {Route, func(t *testing.T) func() {
			_, dst, _ := net.ParseCIDR("198.18.78.0/24")
			r := &netlink.Route{Dst: dst, LinkIndex: 1}
			must(t, netlink.RouteAdd(r))
			return func() { must(t, netlink.RouteDel(r)) }
		}, "198.18.78.0/24"},
		"nft": {NFT, func(t *testing.T) func() {
			conn, err := nftables.New()
			must(t, err)
			table := conn.AddTable(&nftables.Table{Name: "planted", Family: nftables.TableFamilyINet})
			conn.AddChain(&nftables.Chain{Name: "c", Table: table})
			must(t, conn.Flush())
			return func() { conn.DelTable(table); must(t, conn.Flush()) }
		}, "table planted chain c"},
		"TCP socket": {Socket, func(t *testing.T) func() {
			l, err := net.Listen("tcp4", "127.0.0.1:34567")
			must(t, err)
			return func() { _ = l.Close() }
		}, "tcp 0100007F:8707"},
		"UDP socket": {Socket, func(t *testing.T) func() {
			l, err := net.ListenPacket("udp4", "127.0.0.1:34567")
			must(t, err)
			return func() { _ = l.Close() }
		}, "udp 0100007F:8707"},
		"unix socket": {Socket, func(t *testing.T) func() {
			l, err := net.Listen("unix", "@planted")
			must(t, err)
			return func() { _ = l.Close() }
		}, "@planted"},
		"FIFO": {FIFO, func(t *testing.T) func() {
			must(t, syscall.Mkfifo(dir+"/fifo", 0o600))
			return func() { must(t, os.Remove(dir+"/fifo")) }
		}, dir + "/fifo"},
		"file": {File, func(t *testing.T) func() {
			must(t, os.MkdirAll(dir+"/a/b", 0o700))
			must(t, os.WriteFile(dir+"/a/b/c", nil, 0o600))
			return func() { must(t, os.RemoveAll(dir+"/a")) }
		}, dir + "/a/b/c"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "cgroup") {
				if fstype := map[string]string{"cgroup v1": "cgroup", "cgroup v2": "cgroup2"}[name]; hierarchyOf(t, fstype) == "" {
					t.Skipf("this machine has no hierarchy of type %s", fstype)
				}
			}
			must(t, os.MkdirAll(dir+"/m", 0o755))
			opts := Options{Dirs: []string{dir}, OwnSockets: true}
			before, err := Take(opts)
			must(t, err)
			remove := tc.plant(t)
			after, err := Take(opts)
			must(t, err)
			if !found(Diff(before, after), tc.kind, tc.key, false) {
				t.Errorf("planted %s was not found in:\n%s", name, Text(Diff(before, after)))
			}
			if !found(Diff(after, before), tc.kind, tc.key, true) {
				t.Errorf("removed %s was not reported as gone", name)
			}
			remove()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			left, err := Wait(ctx, before, opts)
			must(t, err)
			if len(left) > 0 {
				t.Errorf("after the removal:\n%s", Text(left))
			}
		})
	}
}

func plantCgroup(t *testing.T, fstype string) func() {
	t.Helper()
	dir := filepath.Join(hierarchyOf(t, fstype), "planted")
	must(t, os.Mkdir(dir, 0o755))
	return func() { must(t, os.Remove(dir)) }
}

func found(items []Item, kind Kind, part string, gone bool) bool {
	for _, i := range items {
		if i.Kind == kind && i.Gone == gone && strings.Contains(i.Key+" "+i.Text, part) {
			return true
		}
	}
	return false
}

// TestWaitGivesUp wants the difference named when it does not go away.
func TestWaitGivesUp(t *testing.T) {
	before, err := Take(Options{})
	must(t, err)
	_, end := sleeper(t, 0)
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	left, err := Wait(ctx, before, Options{})
	must(t, err)
	if !found(left, Process, "sleep", false) {
		t.Errorf("not named: %s", Text(left))
	}
}
