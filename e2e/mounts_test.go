package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// What the machine mounts below a hostPath later is seen by the pod that asks for it, and by no other; a read-only mount is read-only down
// to what is mounted in it.
func TestMountsOfTheMachine(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	dir := filepath.Join(filepath.Dir(b.Manifests), "host")
	mount := func(source, at, kind string, flags uintptr) {
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount(source, at, kind, flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	mount(dir, dir, "", syscall.MS_BIND)
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	mount("", dir, "", syscall.MS_SHARED)
	mount("tmpfs", filepath.Join(dir, "before"), "tmpfs", 0)

	host := func(name, fields string) {
		m := pod(name, run("sleep")+", volumeMounts: [{name: v, mountPath: /v"+fields+"}]")
		m.pod = "volumes: [{name: v, hostPath: {path: " + dir + "}}]"
		b.Write(name+".yaml", m.String())
	}
	host("follows", ", mountPropagation: HostToContainer")
	host("stays", "")
	host("reads", ", readOnly: true, recursiveReadOnly: Enabled")
	b.Up()
	for _, name := range []string{"follows", "stays", "reads"} {
		b.UntilPod(name, "to run", running)
	}
	mount("tmpfs", filepath.Join(dir, "later"), "tmpfs", 0)
	for name, want := range map[string]string{"follows": "1", "stays": "0"} {
		if got := strings.TrimSpace(b.CLI("exec", name, "--", "grep", "-c", " /v/later ", "/proc/self/mounts").Stdout); got != want {
			t.Errorf("%s sees %s of the mounts that were made later, want %s", name, got, want)
		}
	}
	for name, writable := range map[string]bool{"stays": true, "reads": false} {
		if r := b.CLI("exec", name, "--", "touch", "/v/before/"+name); (r.Code == 0) != writable {
			t.Errorf("%s, writing below its mount: %d %s", name, r.Code, r.Stderr)
		}
	}
}
