package native

import (
	"os"
	"path/filepath"
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
		{Volume: "config", Path: "/config"}, {Volume: "config", Path: "/one", SubPath: "key"},
		{Volume: "scratch", Path: "/scratch"}, {Volume: "scratch", Path: "/config/in/side"},
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
