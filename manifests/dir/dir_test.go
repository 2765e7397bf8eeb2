package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	testclock "k8s.io/utils/clock/testing"

	"berth/manifests"
)

// watched is a directory with a running source, and what the source said of it.
type watched struct {
	t    *testing.T
	dir  string
	mu   sync.Mutex
	seen []manifests.Snapshot
	bell chan struct{}
	time *testclock.FakeClock // of the source; nil: the real one. It goes on in until alone
}

func watch(t *testing.T, dir string) *watched {
	t.Helper()
	w := &watched{t: t, dir: dir, bell: make(chan struct{}, 1)}
	w.run(Options{})
	return w
}

// watchStopped is watch with a clock that stands still unless the test waits for something: what the test does meanwhile takes no time, on the slowest machine.
func watchStopped(t *testing.T, dir string) *watched {
	t.Helper()
	w := &watched{t: t, dir: dir, bell: make(chan struct{}, 1), time: testclock.NewFakeClock(time.Now())}
	w.run(Options{Clock: w.time})
	return w
}

func (w *watched) run(o Options) {
	t := w.t
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(w.dir, o).Run(ctx, w.take) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	w.until("the first snapshot", func(manifests.Snapshot) bool { return true })
}

func (w *watched) take(s manifests.Snapshot) {
	w.mu.Lock()
	w.seen = append(w.seen, s)
	w.mu.Unlock()
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

func (w *watched) snapshots() []manifests.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]manifests.Snapshot(nil), w.seen...)
}

// patience is how long a machine with much else to do may take. A lost event shows long after it: the next full pass is 10 minutes away.
const patience = time.Minute

// until waits for a snapshot that fits and returns it.
func (w *watched) until(what string, fits func(manifests.Snapshot) bool) manifests.Snapshot {
	w.t.Helper()
	deadline := time.After(patience)
	var tick <-chan time.Time
	if w.time != nil {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		if s := w.snapshots(); len(s) > 0 && fits(s[len(s)-1]) {
			return s[len(s)-1]
		}
		select {
		case <-w.bell:
		case <-tick:
			w.time.Step(time.Millisecond)
		case <-deadline:
			last := "none"
			if s := w.snapshots(); len(s) > 0 {
				last = describe(s[len(s)-1])
			}
			w.t.Fatalf("waited in vain for %s; the last snapshot: %s", what, last)
		}
	}
}

// still checks that nothing is emitted for a while: the one thing that can only be seen by waiting.
func (w *watched) still(d time.Duration) {
	w.t.Helper()
	before := len(w.snapshots())
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
	if s := w.snapshots(); len(s) != before {
		w.t.Fatalf("a snapshot that should not be: %s", describe(s[len(s)-1]))
	}
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

func describe(s manifests.Snapshot) string {
	var b strings.Builder
	for _, o := range s.Objects {
		fmt.Fprintf(&b, "%s@%s ", o.Key, o.Origin)
	}
	fmt.Fprintf(&b, "incomplete=%v faults=%v", s.Incomplete, s.Faults)
	return b.String()
}

func names(s manifests.Snapshot) string {
	var all []string
	for _, o := range s.Objects {
		all = append(all, o.Key.Name)
	}
	return strings.Join(all, " ")
}

func has(want string) func(manifests.Snapshot) bool {
	return func(s manifests.Snapshot) bool { return names(s) == want }
}

func replicas(name string, n int32) func(manifests.Snapshot) bool {
	return func(s manifests.Snapshot) bool {
		for _, o := range s.Objects {
			if d, ok := o.Object.(*appsv1.Deployment); ok && d.Name == name && *d.Spec.Replicas == n {
				return true
			}
		}
		return false
	}
}

func deployment(name string, n int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %s
spec:
  replicas: %d
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: {app: %s}}
    spec:
      containers:
      - {name: c, image: nginx}
`, name, n, name, name)
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustRename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestFirstSnapshot(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 3))
	mustWrite(t, filepath.Join(dir, "sub/deep/api.yml"), deployment("api", 1))
	mustWrite(t, filepath.Join(dir, ".git/config.yaml"), deployment("git", 1))
	for _, junk := range []string{".web.yaml.swp", "#web.yaml#", ".#web.yaml", "web.yaml~", ".web.yaml.AbC123", "web.yaml.bak", "4913", "README.md", "x.YAML", "x.json5"} {
		mustWrite(t, filepath.Join(dir, junk), deployment("junk", 1))
	}
	s := watch(t, dir).until("two", has("api web"))
	if len(s.Faults) > 0 || s.Files != 2 || len(s.Incomplete) > 0 {
		t.Errorf("got %s, %d files", describe(s), s.Files)
	}
}

func TestRename(t *testing.T) {
	w := watch(t, t.TempDir())
	mustWrite(t, w.path(".new"), deployment("web", 3))
	mustRename(t, w.path(".new"), w.path("web.yaml"))
	w.until("web with 3", replicas("web", 3))
	mustWrite(t, w.path(".new"), deployment("web", 5))
	mustRename(t, w.path(".new"), w.path("web.yaml"))
	w.until("web with 5", replicas("web", 5))
	if err := os.Remove(w.path("web.yaml")); err != nil {
		t.Fatal(err)
	}
	w.until("nothing", has(""))
}
