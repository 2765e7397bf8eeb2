package native

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/runtime"
)

func TestOwnDirs(t *testing.T) {
	got := ownDirs([]string{"/data", "/database", "/dev/shm/x", "/var/lib/db/data", "/vol", "/vol/in"},
		[]specs.Mount{{Destination: "/dev"}}, []runtime.Mount{{Path: "/data/"}, {Path: "/var/lib/db"}, {Path: "/vol/in"}})
	if diff := cmp.Diff([]string{"/database", "/vol"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The VOLUMEs of an image are there, and can be written where nothing else of the root file system can.
func TestImageVolumes(t *testing.T) {
	m := newMachine(t)
	img := busybox(t, t.TempDir())
	img.Config.Volumes = []string{"/data/deep", "/vol", "/srv", "/srv/in"}
	m.images["test.invalid/volumes"] = img
	attempt := uint32(0)
	for _, users := range []bool{false, true} {
		m.sandbox(t, runtime.SandboxConfig{UserNamespace: users, Volumes: []runtime.Volume{{Name: "v", EmptyDir: &runtime.EmptyDir{}}}})
		for _, readOnly := range []bool{false, true} {
			cfg := script(`for d in / /data /data/deep /data/deep/v /srv /srv/in /vol; do touch $d/x 2>/dev/null && echo $d; done; grep -c ' /vol ' /proc/mounts; ls /data/deep`)
			cfg.Image, cfg.Attempt, cfg.Security.ReadOnlyRootfs = "test.invalid/volumes", attempt, readOnly
			attempt++
			cfg.Mounts = []runtime.Mount{{Volume: "v", Path: "/vol"}, {Volume: "v", Path: "/data/deep/v"}}
			want := "/data/deep\n/data/deep/v\n/srv\n/srv/in\n/vol\n1\nv\nx\n"
			if !readOnly {
				want = "/\n/data\n" + want
			}
			got, _ := m.output(t, cfg)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("user namespace %t, read-only %t (-want +got):\n%s", users, readOnly, diff)
			}
		}
		must(t, m.RemoveSandbox(t.Context(), "pod"))
	}
}
