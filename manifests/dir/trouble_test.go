package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/fsnotify/fsnotify"

	"berth/manifests"
)

// start runs a loop that the test has built.
func start(t *testing.T, dir string, build func(w *watched) *loop, prepare func()) *watched {
	t.Helper()
	w := &watched{t: t, dir: dir, bell: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		prepare()
		build(w).run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	w.until("the first snapshot", func(manifests.Snapshot) bool { return true })
	return w
}

// Without inotify the directory is polled, and a warning says which sysctl to raise.
func TestPolling(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	w := start(t, dir, func(w *watched) *loop { return newLoop(New(dir, Options{Poll: 20 * time.Millisecond}), nil, w.take) }, func() {})
	w.until("a warning", func(s manifests.Snapshot) bool {
		return slices.ContainsFunc(s.Faults, func(f manifests.Fault) bool {
			return f.Severity == manifests.Warning && strings.Contains(f.Text, "fs.inotify.max_user_instances")
		})
	})
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 2))
	w.until("the edit", replicas("web", 2))
	mustWrite(t, filepath.Join(dir, "sub/api.yaml"), deployment("api", 1))
	w.until("a new file", has("api web"))
	mustRemove(t, filepath.Join(dir, "sub"))
	w.until("its end", has("web"))
	mustRemove(t, dir)
	w.until("unavailable", unavailable)
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 3))
	w.until("back", replicas("web", 3))
}

// When the kernel's queue ran over, everything is read again: here all events but the overflow are withheld.
func TestQueueOverflow(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	mute, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mute.close)
	mute.events = nil
	w := start(t, dir, func(w *watched) *loop { return newLoop(New(dir, Options{}), mute, w.take) }, func() {})
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 2))
	mustWrite(t, filepath.Join(dir, "new/api.yaml"), deployment("api", 1))
	w.still(100 * time.Millisecond)
	mute.fs.Errors <- fsnotify.ErrEventOverflow
	w.until("both", func(s manifests.Snapshot) bool { return names(s) == "api web" && replicas("web", 2)(s) })
}

// withoutPrivilege makes the thread of the calling goroutine obey file modes, root or not. The thread is never given back.
func withoutPrivilege() {
	goruntime.LockOSThread()
	header := struct {
		version uint32
		pid     int32
	}{version: 0x20080522}
	var none [6]uint32
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0); errno != 0 {
		panic(fmt.Sprintf("cannot drop capabilities: %v", errno))
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	mustWrite(t, filepath.Join(dir, "sub/api.yaml"), deployment("api", 1))
	watcher, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(watcher.close)
	w := start(t, dir, func(w *watched) *loop { return newLoop(New(dir, Options{}), watcher, w.take) }, withoutPrivilege)
	chmod := func(mode os.FileMode, names ...string) {
		t.Helper()
		for _, n := range names {
			if err := os.Chmod(filepath.Join(dir, n), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod(0, "web.yaml", "sub")
	w.until("both unknown", func(s manifests.Snapshot) bool { return slices.Equal(s.Incomplete, []string{"sub/", "web.yaml"}) })
	chmod(0o755, "web.yaml", "sub")
	w.until("both back", func(s manifests.Snapshot) bool { return names(s) == "api web" && len(s.Incomplete) == 0 })
	chmod(0, "")
	w.until("nothing to be read", unavailable)
	chmod(0o755, "")
	w.until("all back", func(s manifests.Snapshot) bool { return names(s) == "api web" && len(s.Incomplete) == 0 })
}

// An unmounted directory is an empty one, and no wish.
func TestUnmounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	mount := func() {
		t.Helper()
		if err := syscall.Mount("berth-test", dir, "tmpfs", 0, ""); err != nil {
			t.Fatalf("cannot mount a tmpfs: %v", err)
		}
	}
	mount()
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	w := watch(t, dir)
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	w.until("unavailable", unavailable)
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 2))
	w.until("something is there again", replicas("web", 2))
}
