package dir

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"berth/manifests"
)

// sleeps is a clock that remembers how long the loop meant to sleep each time.
type sleeps struct {
	clock.WithTicker
	mu  sync.Mutex
	all []time.Duration
}

func (s *sleeps) NewTimer(d time.Duration) clock.Timer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, d)
	return s.WithTicker.NewTimer(d)
}

func (s *sleeps) sofar() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Duration(nil), s.all...)
}

func watchSleeping(t *testing.T, dir string) (*watched, *sleeps) {
	t.Helper()
	s := &sleeps{WithTicker: clock.RealClock{}}
	inotify, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inotify.close)
	return start(t, dir, func(w *watched) *loop { return newLoop(New(dir, Options{Clock: s}), inotify, w.take) }, func() {}), s
}

// After a save, and after a writer that took its time, nothing is planned but the full pass.
func TestQuietDirectory(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	w, s := watchSleeping(t, dir)
	mustWrite(t, w.path("web.yaml"), deployment("web", 2))
	w.until("the edit", replicas("web", 2))
	f, err := os.Create(w.path("api.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(deployment("api", 1)); err != nil {
		t.Fatal(err)
	}
	w.until("a file that is being written", func(s manifests.Snapshot) bool { return len(s.Incomplete) == 1 })
	w.still(50 * time.Millisecond)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w.until("both", has("api web"))
	for deadline := time.Now().Add(patience); ; {
		before := len(s.sofar())
		w.still(2 * quiet)
		all := s.sofar()
		if last := all[len(all)-1]; len(all) == before && last >= fullPass-time.Minute {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("a quiet directory is looked at again after %v", last)
		}
	}
}

// Writers that never rest are told of a few hundred times a second, not at each write, and hold up nobody else.
func TestGrowingFiles(t *testing.T) {
	dir := t.TempDir()
	w, s := watchSleeping(t, dir)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var writes [2]int
	for i, name := range []string{"web.yaml", "some.log"} {
		f, err := os.Create(w.path(name))
		if err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			defer f.Close() // the snapshot tells
			_, _ = f.WriteString(deployment("web", 1))
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = f.WriteString("#")
					writes[i]++
				}
			}
		})
	}
	w.until("a file that is being written", func(s manifests.Snapshot) bool { return len(s.Incomplete) == 1 })
	from, began := len(s.sofar()), time.Now()
	w.still(300 * time.Millisecond)
	wakes, took := len(s.sofar())-from, time.Since(began)
	mustWrite(t, w.path(".tmp"), deployment("api", 1))
	mustRename(t, w.path(".tmp"), w.path("api.yaml"))
	w.until("the other file", has("api"))
	close(stop)
	writers.Wait()
	w.until("both", has("api web"))
	if limit := int(took/vainCost)*2 + int(took/busyPace) + 50; wakes > limit {
		t.Errorf("%d wake-ups in %v, more than %d, for %v writes", wakes, took, limit, writes)
	}
}

// Folders keep their watches wherever they are moved, those below them too, and a name its own when another folder takes it.
func TestFoldersMoveAbout(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "a/deep/api.yaml"), deployment("api", 1))
	mustWrite(t, filepath.Join(dir, "b/deep/web.yaml"), deployment("web", 1))
	w := watch(t, dir)
	at := [2]string{"a", "b"}
	for i := range 10 {
		n := i + 2
		if i%2 == 0 {
			mustRename(t, w.path(at[0]), w.path("c"))
			mustRename(t, w.path(at[1]), w.path(at[0]))
			mustRename(t, w.path("c"), w.path(at[1]))
			at[0], at[1] = at[1], at[0]
		} else {
			to := fmt.Sprintf("d%d", i)
			mustRename(t, w.path(at[1]), w.path(to))
			at[1] = to
		}
		w.until("the move", func(s manifests.Snapshot) bool {
			return len(s.Objects) == 2 && s.Objects[0].Origin.File == at[0]+"/deep/api.yaml" && s.Objects[1].Origin.File == at[1]+"/deep/web.yaml"
		})
		mustWrite(t, w.path(at[0]+"/deep/api.yaml"), deployment("api", n))
		mustWrite(t, w.path(at[1]+"/deep/web.yaml"), deployment("web", n))
		w.until("edits after the move", func(s manifests.Snapshot) bool {
			return replicas("api", int32(n))(s) && replicas("web", int32(n))(s)
		})
	}
}

// What is mounted over the directory is seen when it comes and when it goes.
func TestMountedOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	w := watch(t, dir)
	if err := syscall.Mount("berth-test", dir, "tmpfs", 0, ""); err != nil {
		t.Fatalf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	w.until("unavailable", unavailable)
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	w.until("back", has("web"))
}

// An error of the library finds a taker though nobody listens to the loop's side.
func TestErrorsNeverBlock(t *testing.T) {
	w, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	for range 3 {
		select {
		case w.fs.Errors <- syscall.EINVAL:
		case <-t.Context().Done():
		case <-time.After(patience):
			t.Fatal("the library would hang with its lock held")
		}
	}
}
