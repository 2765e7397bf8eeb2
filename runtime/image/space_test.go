package image

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

func TestDiskFullByRule(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
	room := false
	used := map[string]bool{}
	s := testStore(t, func(o *Options) {
		o.Enough = func(Disk) bool { return room }
		o.InUse = func() map[string]bool { return used }
	})
	room = true
	kept := loadTest(t, s, testImage(t, testLayer(t, "kept=1")), "kept:1")
	used[kept.ID] = true
	room = false
	if _, err := s.Pull(t.Context(), ref, runtime.PullOptions{}); !errors.Is(err, runtime.ErrDiskFull) {
		t.Errorf("got %v", err)
	}
	if n := reg.blobs.Load(); n > 1 {
		t.Errorf("%d blobs were fetched", n)
	}
	checkImage(t, s, "kept:1", "kept", "1")
}

func TestHugePromise(t *testing.T) {
	s := testStore(t, func(o *Options) { o.InUse = func() map[string]bool { return nil } })
	loadTest(t, s, testImage(t, testLayer(t, "a=1")), "a:1")
	s.opts.Now = func() time.Time { return time.Now().Add(time.Hour) }
	if err := s.makeRoom(t.Context(), 1<<62); !errors.Is(err, runtime.ErrDiskFull) {
		t.Errorf("got %v", err)
	}
	checkImage(t, s, "a:1", "a", "1")
}

func TestEnoughSpace(t *testing.T) {
	for _, tt := range []struct {
		d    Disk
		want bool
	}{
		{Disk{Total: 100 << 30, Free: 1 << 30}, true},
		{Disk{Total: 100 << 30, Free: 1<<30 - 1}, false},
		{Disk{Total: 1 << 30, Free: 1 << 30 / 10}, true},
		{Disk{Total: 1 << 30, Free: 1<<30/10 - 1}, false},
	} {
		if got := EnoughSpace(tt.d); got != tt.want {
			t.Errorf("%+v: %t", tt.d, got)
		}
	}
}

func TestDiskFullForReal(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mount("berth-test", dir, "tmpfs", 0, "size=8m"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	reg := newRegistry(t)
	small := reg.push(t, "small:1", testImage(t, testLayer(t, "v=1")))
	img, err := random.Image(6<<20, 3)
	must(t, err)
	big := reg.push(t, "big:1", img)
	for name, rule := range map[string]func(Disk) bool{"by the rule": nil, "by the kernel": func(Disk) bool { return true }} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t, func(o *Options) { o.StateDir, o.Enough = filepath.Join(dir, name), rule })
			_, err := s.Pull(t.Context(), small, runtime.PullOptions{})
			must(t, err)
			if _, err := s.Pull(t.Context(), big, runtime.PullOptions{}); !errors.Is(err, runtime.ErrDiskFull) {
				t.Errorf("got %v", err)
			}
			checkImage(t, s, small, "v", "1")
			if _, err := s.Image(t.Context(), big); !errors.Is(err, runtime.ErrNotFound) {
				t.Errorf("the image that had no room: %v", err)
			}
			dirs, err := os.ReadDir(s.layersDir())
			must(t, err)
			if len(dirs) != 1 {
				t.Errorf("%d layers, want the small image's only", len(dirs))
			}
		})
	}
}

// A disk without room for one directory more: what is in the store can be used and removed, also what processes that died and images that went have left; and
// with space again the same store pulls.
func TestFullFromTheBeginning(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mount("berth-test", dir, "tmpfs", 0, "size=8m,nr_inodes=500"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	reg := newRegistry(t)
	ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
	first := testStore(t, func(o *Options) { o.StateDir = dir })
	loadTest(t, first, testImage(t, testLayer(t, "a=1")), "a:1")
	loadTest(t, first, testImage(t, testLayer(t, "b=1")), "b:1")
	must(t, os.MkdirAll(filepath.Join(first.path("t", "dead"), "x"), 0o700))
	must(t, os.MkdirAll(filepath.Join(first.layersDir(), "nobodys", "x"), 0o700))
	filled := 0
	fill := func() {
		for ; ; filled++ {
			if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(filled)), nil, 0o600); err != nil {
				return
			}
		}
	}
	fill()
	s := testStore(t, func(o *Options) { o.StateDir, o.InUse = dir, func() map[string]bool { return nil } })
	if exists(first.path("t", "dead")) || exists(filepath.Join(first.layersDir(), "nobodys")) {
		t.Error("what nobody has stayed")
	}
	checkImage(t, s, "a:1", "a", "1")
	fill()
	if _, err := s.Remove(t.Context(), "b:1"); err != nil {
		t.Errorf("cannot remove an image: %v", err)
	}
	if layers, err := os.ReadDir(s.layersDir()); err != nil || len(layers) != 1 {
		t.Errorf("%d layers, %v, want that of the image that is left", len(layers), err)
	}
	fill()
	if _, err := s.Pull(t.Context(), ref, runtime.PullOptions{}); err == nil {
		t.Error("an image was pulled on a full disk")
	}
	for i := range filled {
		must(t, os.Remove(filepath.Join(dir, strconv.Itoa(i))))
	}
	if _, err := s.Pull(t.Context(), ref, runtime.PullOptions{}); err != nil {
		t.Errorf("cannot pull with space again: %v", err)
	}
	checkImage(t, s, ref, "v", "1")
}
