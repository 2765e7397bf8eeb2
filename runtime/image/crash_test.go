package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"berth/runtime"
)

func TestTwoStores(t *testing.T) {
	one := testStore(t)
	two := testStore(t, func(o *Options) { o.StateDir = one.opts.StateDir })
	img := testImage(t, testLayer(t, "a=1"))
	loadTest(t, one, img, "a:1")
	checkImage(t, two, "a:1", "a", "1")
	if _, err := two.Remove(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Image(t.Context(), "a:1"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("removed by the other: %v", err)
	}
	checkEmpty(t, one)
	loadTest(t, two, img, "a:1")
	checkImage(t, one, "a:1", "a", "1")
	// A third that opens does not sweep what a living one is at.
	staged, err := one.session.temp("layer")
	must(t, err)
	testStore(t, func(o *Options) { o.StateDir = one.opts.StateDir })
	if !exists(staged) {
		t.Error("the session of a living process was swept")
	}
}

func TestLayerRemovedMeanwhile(t *testing.T) {
	reg := newRegistry(t)
	base, top := testLayer(t, "base=1"), testLayer(t, "top=1")
	ref := reg.push(t, "app:1", testImage(t, base, top))
	s := testStore(t)
	loadTest(t, s, testImage(t, base), "base:1")
	digest, err := top.Digest()
	must(t, err)
	reg.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, digest.String()) && exists(s.refPath("docker.io/library/base:1")) {
			if _, err := s.Remove(context.Background(), "base:1"); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	_, err = s.Pull(t.Context(), ref, runtime.PullOptions{})
	must(t, err)
	checkImage(t, s, ref, "base", "1")
	checkImage(t, s, ref, "top", "1")
}

func TestOpenSweeps(t *testing.T) {
	s := testStore(t)
	loadTest(t, s, testImage(t, testLayer(t, "a=1")), "a:1")
	lost := loadTest(t, s, testImage(t, testLayer(t, "b=1")), "b:1")
	must(t, os.Mkdir(filepath.Join(s.layersDir(), "orphan"), 0o755))
	must(t, os.MkdirAll(s.path("t", "dead", "layer1", "d"), 0o755))
	must(t, os.WriteFile(s.path("i", "x.json"), []byte("{"), 0o600))
	must(t, os.WriteFile(s.path("r", "y.json"), nil, 0o600))
	must(t, os.RemoveAll(lost.Layers[0]))
	next := testStore(t, func(o *Options) { o.StateDir = s.opts.StateDir })
	checkImage(t, next, "a:1", "a", "1")
	if _, err := next.Image(t.Context(), "b:1"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("an image without its layer: %v", err)
	}
	for _, path := range []string{filepath.Join(s.layersDir(), "orphan"), s.path("t", "dead"), s.path("i", "x.json"), s.path("r", "y.json"), s.imagePath(lost.ID)} {
		if exists(path) {
			t.Errorf("%s is still there", path)
		}
	}
	list, err := next.List()
	must(t, err)
	if len(list) != 1 {
		t.Errorf("%d images, want 1", len(list))
	}
}

func TestCrash(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	img, err := random.Image(200_000, 4)
	must(t, err)
	reg := newRegistry(t)
	ref := reg.push(t, "app:1", img)
	state := filepath.Join(t.TempDir(), "state")
	for _, after := range []int{0, 1, 1000, 100_000, 300_000, 500_000, 700_000} {
		reached, release := make(chan struct{}, 64), make(chan struct{})
		reg.intercept(killPoint(img, after, reached, release))
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), helperEnv+"="+state+" "+ref)
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		<-reached
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		close(release)
		s, err := Open(Options{StateDir: state, Home: state, Getenv: func(string) string { return "" }})
		must(t, err)
		if _, err := s.Image(t.Context(), ref); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("after %d bytes: %v", after, err)
		}
		checkEmpty(t, s)
		sessions, err := os.ReadDir(s.path("t"))
		must(t, err)
		if len(sessions) != 1 {
			t.Errorf("after %d bytes: %d sessions, want only the new one", after, len(sessions))
		}
		left, err := os.ReadDir(s.session.dir)
		must(t, err)
		if len(left) != 0 {
			t.Errorf("after %d bytes: %d things are left in the session", after, len(left))
		}
		must(t, s.Close())
	}
	reg.intercept(nil)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+state+" "+ref)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the pull after the crashes: %v: %s", err, out)
	}
	s, err := Open(Options{StateDir: state, Home: state, Getenv: func(string) string { return "" }})
	must(t, err)
	defer s.Close()
	got, err := s.Image(t.Context(), ref)
	must(t, err)
	if len(got.Layers) != 4 {
		t.Errorf("%d layers", len(got.Layers))
	}
}

func killPoint(img v1.Image, after int, reached chan<- struct{}, release <-chan struct{}) func(http.ResponseWriter, *http.Request) bool {
	layers, _ := img.Layers()
	budget := make(chan int, 1)
	budget <- after
	return func(w http.ResponseWriter, r *http.Request) bool {
		for _, l := range layers {
			d, _ := l.Digest()
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, d.String()) {
				continue
			}
			rc, _ := l.Compressed()
			data, _ := io.ReadAll(rc)
			left := <-budget
			n := min(left, len(data))
			budget <- left - n
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:n])
			w.(http.Flusher).Flush()
			if n < len(data) {
				reached <- struct{}{}
				select {
				case <-release:
				case <-r.Context().Done():
				}
			}
			return true
		}
		return false
	}
}

func TestCrashInCommit(t *testing.T) {
	full := testStore(t)
	img := testImage(t, testLayer(t, "a=1"), testLayer(t, "b=1"))
	done := loadTest(t, full, img, "a:1")
	steps := append(slices.Clone(done.Layers), full.imagePath(done.ID), full.refPath("docker.io/library/a:1"))
	for n := range len(steps) + 1 {
		state := filepath.Join(t.TempDir(), "state")
		must(t, exec.Command("cp", "-a", full.opts.StateDir, state).Run())
		for _, path := range steps[n:] {
			must(t, os.RemoveAll(strings.Replace(path, full.opts.StateDir, state, 1)))
		}
		s := testStore(t, func(o *Options) { o.StateDir = state })
		_, err := s.Image(t.Context(), "a:1")
		if complete := n == len(steps); complete != (err == nil) {
			t.Errorf("after %d of %d steps: %v", n, len(steps), err)
		}
		list, err := s.List()
		must(t, err)
		if want := n >= len(steps)-1; want != (len(list) == 1) {
			t.Errorf("after %d of %d steps: %d images", n, len(steps), len(list))
		}
		if len(list) == 0 {
			checkEmpty(t, s)
		}
		loadTest(t, s, img, "a:1")
		checkImage(t, s, "a:1", "b", "1")
	}
}
