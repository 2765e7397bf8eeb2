package native

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

// TestUpdateFiles changes files under a running container: it reads the new ones under the old paths, but through a subPath.
func TestUpdateFiles(t *testing.T) {
	m := newMachine(t)
	files := func(hash, text string) runtime.Volume {
		return runtime.Volume{Name: "config", Files: &runtime.Files{Hash: hash, Entries: []runtime.File{{Path: "key", Data: []byte(text), Mode: 0o400}}}}
	}
	m.sandbox(t, runtime.SandboxConfig{FSGroup: new(int64(2000)), Volumes: []runtime.Volume{
		files("1a", "old\n"), {Name: "scratch", EmptyDir: &runtime.EmptyDir{}},
	}})
	cfg := script(`stat -L -c '%a %u:%g' /config/key; echo x > /config/in/side/f; while [ ! -e /scratch/go ]; do sleep 0.01; done
		cat /config/key /one; ls /config; sleep 1000`)
	cfg.Security.User = new(int64(1000))
	cfg.Mounts = []runtime.Mount{
		{Volume: "config", Path: "/config"},
		{Volume: "config", Path: "/one", SubPath: "key"},
		{Volume: "scratch", Path: "/scratch"},
		{Volume: "scratch", Path: "/config/in/side"},
	}
	st, err := m.StartContainer(t.Context(), "pod", cfg)
	must(t, err)
	m.awaitLog(t, st.LogPath, "2000\n")
	must(t, m.UpdateFiles(t.Context(), "pod", []runtime.Volume{files("2b", "new\n")}))
	must(t, os.WriteFile(filepath.Join(m.dirs.volumes("pod"), "scratch/go"), nil, 0o644))
	m.awaitLog(t, st.LogPath, "key\n")
	if diff := cmp.Diff("440 0:2000\nnew\nold\nin\nkey\n", logText(t, st.LogPath)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	m.reopen(t)
	p, err := m.Status(t.Context(), "pod")
	must(t, err)
	if diff := cmp.Diff(map[string]string{"config": "2b"}, p.Sandbox.Files); diff != "" {
		t.Errorf("after reopen (-want +got):\n%s", diff)
	}
}

func TestReadFile(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{Volumes: []runtime.Volume{
		{Name: "disk", EmptyDir: &runtime.EmptyDir{}},
		{Name: "memory", EmptyDir: &runtime.EmptyDir{Memory: true}},
		{Name: "host", HostPath: &runtime.HostPath{Path: "/etc"}},
	}})
	cfg := script(`for v in disk memory; do mkdir /$v/d; echo $v > /$v/d/f; ln -s d/f /$v/in; ln -s /etc/hostname /$v/out; mkfifo /$v/fifo; done
		dd if=/dev/zero of=/disk/big bs=1k count=300`)
	cfg.Mounts = []runtime.Mount{{Volume: "disk", Path: "/disk"}, {Volume: "memory", Path: "/memory"}}
	m.output(t, cfg)
	for _, v := range []string{"disk", "memory"} {
		for _, path := range []string{"d/f", "in"} {
			if data, err := m.ReadFile(t.Context(), "pod", v, path); err != nil || string(data) != v+"\n" {
				t.Errorf("%s of %s: %q, %v", path, v, data, err)
			}
		}
		for _, path := range []string{"none", "out", "../../etc/hostname"} {
			if data, err := m.ReadFile(t.Context(), "pod", v, path); !errors.Is(err, runtime.ErrNotFound) {
				t.Errorf("%s of %s: %q, %v", path, v, data, err)
			}
		}
	}
	for where, text := range map[string]string{"disk/fifo": "no regular file", "disk/big": "307200 bytes", "disk/d": "no regular file", "host/hostname": "no emptyDir", "none/x": "no emptyDir"} {
		v, path, _ := strings.Cut(where, "/")
		if _, err := m.ReadFile(t.Context(), "pod", v, path); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", where, err)
		}
	}
}
