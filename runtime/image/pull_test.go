package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // the only way to silence a server of the standard library
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"berth/runtime"
)

// testRegistry is a registry on loopback. Its middle may answer instead of it, and says whether it did.
type testRegistry struct {
	*httptest.Server
	mu     sync.Mutex
	middle func(w http.ResponseWriter, r *http.Request) bool
	// blobs and manifests count the requests that reached the registry itself.
	blobs, manifests atomic.Int32
}

func newRegistry(t *testing.T) *testRegistry {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	reg := &testRegistry{}
	reg.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reg.mu.Lock()
		middle := reg.middle
		reg.mu.Unlock()
		if middle != nil && middle(w, r) {
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			reg.blobs.Add(1)
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
			reg.manifests.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(reg.Close)
	return reg
}

func (r *testRegistry) host() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *testRegistry) intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.middle = f
}

// push stores an image and returns its full reference.
func (r *testRegistry) push(t *testing.T, repoTag string, img v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(r.host() + "/" + repoTag)
	must(t, err)
	must(t, remote.Write(ref, img))
	return ref.String()
}

func digestRef(t *testing.T, ref string, img v1.Image) string {
	t.Helper()
	d, err := img.Digest()
	must(t, err)
	return ref[:strings.LastIndexByte(ref, ':')] + "@" + d.String()
}

func TestPull(t *testing.T) {
	reg := newRegistry(t)
	base := testLayer(t, "bin/", "bin/app=program")
	img := testImage(t, base, testLayer(t, "v=1"))
	ref := reg.push(t, "shop/app:1", img)
	other := reg.push(t, "shop/app:same", img)
	s := testStore(t)

	if _, err := s.Image(t.Context(), ref); !errors.Is(err, runtime.ErrNotFound) {
		t.Fatalf("before the pull: %v", err)
	}
	var complete, total int64
	got, err := s.Pull(t.Context(), ref, runtime.PullOptions{Progress: func(c, all int64) { complete, total = c, all }})
	must(t, err)
	if complete != total || total == 0 {
		t.Errorf("progress ended at %d of %d", complete, total)
	}
	checkImage(t, s, ref, "bin/app", "program")
	digest, _ := img.Digest()
	id, _ := img.ConfigName()
	if got.Digest != digest.String() || got.ID != id.String() {
		t.Errorf("got %s %s, want %s %s", got.ID, got.Digest, id, digest)
	}

	before := reg.blobs.Load()
	again, err := s.Pull(t.Context(), other, runtime.PullOptions{})
	must(t, err)
	if strings.Join(again.Layers, " ") != strings.Join(got.Layers, " ") {
		t.Errorf("two tags of one image have different layers: %q %q", got.Layers, again.Layers)
	}
	if n := reg.blobs.Load() - before; n != 1 {
		t.Errorf("pulling what is there fetched %d blobs, want only the configuration", n)
	}

	// By digest: known already, no network.
	manifests := reg.manifests.Load()
	for _, by := range []string{digestRef(t, ref, img), ref + "@" + digest.String()} {
		if _, err := s.Image(t.Context(), by); err != nil {
			t.Errorf("by digest: %v", err)
		}
		if _, err := s.Pull(t.Context(), by, runtime.PullOptions{}); err != nil {
			t.Errorf("by digest: %v", err)
		}
	}
	if reg.manifests.Load() != manifests {
		t.Error("a digest that is present was asked for over the network")
	}
	dirs, err := os.ReadDir(s.layersDir())
	must(t, err)
	if len(dirs) != 2 {
		t.Errorf("%d unpacked layers, want 2", len(dirs))
	}
}

func TestPullByDigestFromRegistry(t *testing.T) {
	reg := newRegistry(t)
	img := testImage(t, testLayer(t, "v=1"))
	ref := digestRef(t, reg.push(t, "app:1", img), img)
	s := testStore(t)
	_, err := s.Pull(t.Context(), ref, runtime.PullOptions{})
	must(t, err)
	checkImage(t, s, ref, "v", "1")
}

func TestPullMovedTag(t *testing.T) {
	reg := newRegistry(t)
	s := testStore(t)
	ref := reg.push(t, "app:latest", testImage(t, testLayer(t, "v=1")))
	_, err := s.Pull(t.Context(), ref, runtime.PullOptions{})
	must(t, err)
	checkImage(t, s, ref, "v", "1")
	reg.push(t, "app:latest", testImage(t, testLayer(t, "v=2")))
	_, err = s.Pull(t.Context(), ref, runtime.PullOptions{})
	must(t, err)
	checkImage(t, s, ref, "v", "2")
	list, err := s.List()
	must(t, err)
	if len(list) != 2 {
		t.Errorf("%d images, want the old one and the new one", len(list))
	}
}

func TestPullIndex(t *testing.T) {
	reg := newRegistry(t)
	s := testStore(t)
	here := testImage(t, testLayer(t, "arch=ours"))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: testImage(t, testLayer(t, "arch=s390x")), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: testImage(t, testLayer(t, "arch=windows")), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "windows", Architecture: hostArch}}},
		mutate.IndexAddendum{Add: here, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: hostArch}}})
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: hostArch}}})
	tooDeep := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: nested, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: hostArch}}})
	foreign := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: testImage(t, testLayer(t, "x=y")), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	for tag, idx := range map[string]v1.ImageIndex{"flat": index, "nested": nested, "deep": tooDeep, "foreign": foreign} {
		ref, err := name.ParseReference(reg.host() + "/multi:" + tag)
		must(t, err)
		must(t, remote.WriteIndex(ref, idx))
	}
	for _, tag := range []string{"flat", "nested"} {
		ref := reg.host() + "/multi:" + tag
		_, err := s.Pull(t.Context(), ref, runtime.PullOptions{})
		must(t, err)
		checkImage(t, s, ref, "arch", "ours")
	}
	// The digest of the index leads to the same image.
	top, err := index.Digest()
	must(t, err)
	checkImage(t, s, reg.host()+"/multi@"+top.String(), "arch", "ours")
	for tag, want := range map[string]string{"deep": "leads to more than 2 others", "foreign": "only for linux/s390x"} {
		_, err := s.Pull(t.Context(), reg.host()+"/multi:"+tag, runtime.PullOptions{})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", tag, err, want)
		}
	}
}

func TestPullErrors(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
	status := func(part string, code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			w.WriteHeader(code)
			return true
		}
	}
	tests := map[string]struct {
		ref    string
		middle func(w http.ResponseWriter, r *http.Request) bool
		kind   error
		text   string
	}{
		"unknown tag":        {strings.ReplaceAll(ref, ":1", ":nope"), nil, runtime.ErrNotFound, "manifest unknown in " + reg.host()},
		"unknown repository": {reg.host() + "/none:1", nil, runtime.ErrNotFound, `no repository "none" in ` + reg.host()},
		"401":                {ref, status("/manifests/", 401), runtime.ErrUnauthorized, `refuses "app" without a login, or it does not exist`},
		"403":                {ref, status("/manifests/", 403), runtime.ErrUnauthorized, `refuses "app"`},
		"429":                {ref, status("/manifests/", 429), errLimited, "too many requests (429)"},
		"500":                {ref, status("/manifests/", 500), errLimited, "answers 500 Internal Server Error"},
		"blob gone":          {ref, status("/blobs/", 404), runtime.ErrNotFound, "manifest unknown"},
		"html":               {ref, manifestOf("<html>hello</html>"), ErrInvalid, "invalid manifest"},
		"huge manifest":      {ref, manifestOf(strings.Repeat(" ", maxManifestBytes+1)), ErrInvalid, "at most 4194304 are read"},
		"both":               {ref, manifestOf(`{"schemaVersion":2,"manifests":[],"layers":[]}`), ErrInvalid, "an index and an image at once"},
		"negative size":      {ref, manifestOf(`{"schemaVersion":2,"config":{"size":-1,"digest":"sha256:` + strings.Repeat("0", 64) + `"},"layers":[]}`), ErrInvalid, "a part of -1 bytes"},
		"traversing digest":  {ref, manifestOf(`{"schemaVersion":2,"config":{"size":1,"digest":"sha256:../../../../etc/passwd"},"layers":[]}`), ErrInvalid, "digest"},
		"schema 1":           {ref, manifestOf(`{"schemaVersion":1}`), ErrInvalid, "schema 1"},
		"bad reference":      {"UPPER/case", nil, ErrInvalid, "lower-case"},
		"climbing":           {"a/../b", nil, ErrInvalid, "repository"},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			s := testStore(t)
			reg.intercept(tt.middle)
			defer reg.intercept(nil)
			_, err := s.Pull(t.Context(), tt.ref, runtime.PullOptions{})
			if !errors.Is(err, tt.kind) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Fatalf("got %v, want %q", err, tt.text)
			}
			if !strings.HasPrefix(err.Error(), fmt.Sprintf("cannot pull %q: ", tt.ref)) {
				t.Errorf("%q does not say what was pulled", err)
			}
			checkEmpty(t, s)
		})
	}
}

// manifestOf answers every request for a manifest with a text.
func manifestOf(text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		_, _ = io.WriteString(w, text)
		return true
	}
}

// checkEmpty says that a store holds no image, reference or layer.
func checkEmpty(t *testing.T, s *Store) {
	t.Helper()
	for _, dir := range []string{s.path("i"), s.path("r"), s.layersDir()} {
		entries, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			t.Errorf("%s holds %s", dir, e.Name())
		}
	}
}

func TestPullDamagedBlobs(t *testing.T) {
	layerOf := func(r *http.Request, img v1.Image) bool {
		layers, _ := img.Layers()
		d, _ := layers[0].Digest()
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, d.String())
	}
	blobOf := func(img v1.Image) []byte {
		layers, _ := img.Layers()
		rc, _ := layers[0].Compressed()
		data, _ := io.ReadAll(rc)
		return data
	}
	tests := map[string]struct {
		answer func(w http.ResponseWriter, data []byte, try int)
		ok     bool
	}{
		"other bytes":                     {func(w http.ResponseWriter, data []byte, _ int) { data[len(data)-9] ^= 1; _, _ = w.Write(data) }, false},
		"too long":                        {func(w http.ResponseWriter, data []byte, _ int) { _, _ = w.Write(append(data, 0)) }, false},
		"the same content in other bytes": {func(w http.ResponseWriter, data []byte, _ int) { _, _ = w.Write(recompress(data)) }, false},
		"always cut":                      {func(w http.ResponseWriter, data []byte, _ int) { cut(w, data, 0) }, false},
		"cut once":                        {func(w http.ResponseWriter, data []byte, try int) { cut(w, data, try*len(data)/2+100) }, true},
		"short, honest length":            {func(w http.ResponseWriter, data []byte, _ int) { _, _ = w.Write(data[:len(data)/2]) }, false},
		"empty":                           {func(http.ResponseWriter, []byte, int) {}, false},
		"a page instead":                  {func(w http.ResponseWriter, _ []byte, _ int) { _, _ = io.WriteString(w, "<html>") }, false},
		"an error in the middle": {func(w http.ResponseWriter, data []byte, try int) {
			if try > 0 {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			cut(w, data, 100)
		}, false},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			reg := newRegistry(t)
			img, err := random.Image(20_000, 1)
			must(t, err)
			ref := reg.push(t, "app:1", img)
			try := -1
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !layerOf(r, img) {
					return false
				}
				try++
				tt.answer(w, blobOf(img), try)
				return true
			})
			s := testStore(t)
			_, err = s.Pull(t.Context(), ref, runtime.PullOptions{})
			if tt.ok {
				must(t, err)
				if try == 0 {
					t.Error("the connection was not cut")
				}
				return
			}
			if err == nil {
				t.Fatal("the pull succeeded")
			}
			checkEmpty(t, s)
			// The next pull is not harmed by this one.
			reg.intercept(nil)
			_, err = s.Pull(t.Context(), ref, runtime.PullOptions{})
			must(t, err)
		})
	}
}

// recompress returns a blob of the same length that unpacks to the same: only its digest differs.
func recompress(data []byte) []byte {
	out := bytes.Clone(data)
	out[9] ^= 1 // the operating system that gzip notes in its header
	return out
}

// cut promises everything and breaks the connection after n bytes.
func cut(w http.ResponseWriter, data []byte, n int) {
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = w.Write(data[:min(n, len(data))])
	if n < len(data) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestPullResumes(t *testing.T) {
	reg := newRegistry(t)
	img, err := random.Image(3<<20, 1)
	must(t, err)
	ref := reg.push(t, "app:1", img)
	layers, err := img.Layers()
	must(t, err)
	digest, _ := layers[0].Digest()
	rc, err := layers[0].Compressed()
	must(t, err)
	data, err := io.ReadAll(rc)
	must(t, err)
	var ranges []string
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.String()) {
			return false
		}
		ranges = append(ranges, r.Header.Get("Range"))
		if len(ranges) == 1 {
			cut(w, data, 1<<20)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
		return true
	})
	s := testStore(t)
	_, err = s.Pull(t.Context(), ref, runtime.PullOptions{})
	must(t, err)
	if len(ranges) != 2 || !strings.HasPrefix(ranges[1], "bytes=") || ranges[1] == "bytes=0-" {
		t.Errorf("the blob was asked for with the ranges %q, want it to go on where it broke", ranges)
	}
}

func TestPullHangs(t *testing.T) {
	for _, part := range []string{"/v2/", "/manifests/", "/blobs/"} {
		t.Run(part, func(t *testing.T) {
			reg := newRegistry(t)
			ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
			release := make(chan struct{})
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if part == "/v2/" && r.URL.Path != part || !strings.Contains(r.URL.Path, part) {
					return false
				}
				select {
				case <-release:
				case <-r.Context().Done():
				}
				return true
			})
			defer close(release)
			s := testStore(t, func(o *Options) { o.StallTimeout = 100 * time.Millisecond })
			_, err := s.Pull(t.Context(), ref, runtime.PullOptions{})
			if !errors.Is(err, errStalled) {
				t.Fatalf("got %v", err)
			}
			checkEmpty(t, s)
		})
	}
}

func TestPullShared(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
	s := testStore(t)
	started, release := make(chan struct{}, 1), make(chan struct{})
	reg.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			started <- struct{}{}
			<-release
		}
		return false
	})
	const callers = 300
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	first, cancelFirst := context.WithCancel(t.Context())
	firstDone := make(chan error, 1)
	go func() {
		_, err := s.Pull(first, ref, runtime.PullOptions{})
		firstDone <- err
	}()
	<-started
	for range callers {
		wg.Go(func() {
			_, err := s.Pull(t.Context(), ref, runtime.PullOptions{})
			errs <- err
		})
	}
	waitFor(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.flights {
			return f.waiting == callers+1
		}
		return false
	})
	// The one who started it leaves: the others still get their image.
	cancelFirst()
	if err := <-firstDone; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled caller got %v", err)
	}
	close(release)
	wg.Wait()
	close(errs)
	for err := range errs {
		must(t, err)
	}
	if n := reg.manifests.Load(); n != 1 {
		t.Errorf("%d callers fetched the manifest %d times", callers, n)
	}
	for range callers {
		wg.Go(func() {
			if _, err := s.Image(t.Context(), ref); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// waitFor waits for a condition that another goroutine brings about.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not come true in 20 s")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestPullCancelled(t *testing.T) {
	reg := newRegistry(t)
	ref := reg.push(t, "app:1", testImage(t, testLayer(t, "v=1")))
	s := testStore(t)
	started := make(chan struct{}, 8)
	reg.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			started <- struct{}{}
			<-r.Context().Done()
		}
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if _, err := s.Pull(ctx, ref, runtime.PullOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	checkEmpty(t, s)
	if left, err := filepath.Glob(filepath.Join(s.session.dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left in the session: %q %v", left, err)
	}
}
