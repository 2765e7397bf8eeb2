package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"berth/runtime"
)

// helperEnv makes the test binary pull an image into a state directory and nothing else, so that it can be killed.
const helperEnv = "BERTH_TEST_PULL"

func TestMain(m *testing.M) {
	if args := os.Getenv(helperEnv); args != "" {
		os.Exit(helper(strings.Fields(args)))
	}
	os.Exit(m.Run())
}

func helper(args []string) int {
	s, err := Open(Options{StateDir: args[0], Home: args[0], Getenv: func(string) string { return "" }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := s.Pull(context.Background(), args[1], runtime.PullOptions{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func loadTest(t *testing.T, s *Store, img v1.Image, names ...string) runtime.Image {
	t.Helper()
	out, err := s.LoadImage(t.Context(), img, names...)
	must(t, err)
	return out
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestLoadImage(t *testing.T) {
	s := testStore(t)
	twice := testLayer(t, "a=1")
	img := testImage(t, twice, testLayer(t), testLayer(t, "a=2", "b=2"), twice)
	got := loadTest(t, s, img, "demo:1", "demo:latest")
	if len(got.Layers) != 2 {
		t.Errorf("layers %q: a layer that is there twice counts once, an empty one not at all", got.Layers)
	}
	checkImage(t, s, "demo", "a", "1")
	checkImage(t, s, "demo:1", "b", "2")
	for _, l := range got.Layers {
		if n := len(filepath.Base(l)); n > 8 {
			t.Errorf("layer name %q is long", l)
		}
	}

	// Layers hide everything below an opaque root.
	got = loadTest(t, s, testImage(t, testLayer(t, "low=1"), testLayer(t, ".wh..wh..opq=", "high=1"), testLayer(t, "top=1")), "opaque:1")
	if len(got.Layers) != 2 {
		t.Errorf("layers %q, want those from the opaque one up", got.Layers)
	}

	// An image without layers can be mounted as well.
	got = loadTest(t, s, testImage(t), "nothing:1")
	if len(got.Layers) != 1 || !exists(got.Layers[0]) {
		t.Errorf("layers %q of an image without any", got.Layers)
	}
	got = loadTest(t, s, testImage(t, testLayer(t)), "nothing:2")
	if len(got.Layers) != 1 || !exists(got.Layers[0]) {
		t.Errorf("layers %q of an image with an empty one", got.Layers)
	}
}

func TestManyLayers(t *testing.T) {
	s := testStore(t)
	var layers []v1.Layer
	for i := range 127 {
		layers = append(layers, testLayer(t, fmt.Sprintf("f%d=%d", i, i)))
	}
	got := loadTest(t, s, testImage(t, layers...), "many:1")
	if len(got.Layers) != 127 {
		t.Fatalf("%d layers", len(got.Layers))
	}
	if n := len("/var/lib/berth/l/") + len(filepath.Base(got.Layers[0])) + 1; n*127 > 3500 {
		t.Errorf("127 layers take %d bytes of overlay's page below the usual state directory", n*127)
	}
	// The kernel takes them, relative to their common directory as a runtime does it below long state directories.
	mount := t.TempDir()
	var names []string
	for _, l := range slices.Backward(got.Layers) {
		names = append(names, filepath.Base(l))
	}
	out, err := exec.Command("unshare", "-m", "sh", "-c", `cd "$1" && mount -t overlay -o "ro,lowerdir=$2" none "$3" && cat "$3/f0" "$3/f126"`,
		"sh", filepath.Dir(got.Layers[0]), strings.Join(names, ":"), mount).CombinedOutput()
	if err != nil || string(out) != "0126" {
		t.Errorf("mounted: %q %v", out, err)
	}
}

// TestOverlay mounts what whiteouts and opaque directories have become.
func TestOverlay(t *testing.T) {
	s := testStore(t)
	got := loadTest(t, s, testImage(t,
		testLayer(t, "keep=1", "gone=1", "d/", "d/old=1", "e/", "e/old=1"),
		testLayer(t, ".wh.gone=", "d/", "d/.wh..wh..opq=", "d/new=2", "e/", "e/new=2")), "wh:1")
	mount := t.TempDir()
	out, err := exec.Command("unshare", "-m", "sh", "-c", `mount -t overlay -o "ro,lowerdir=$1" none "$2" && cd "$2" && find . -type f | sort | tr '\n' ' '`,
		"sh", got.Layers[1]+":"+got.Layers[0], mount).CombinedOutput()
	if want := "./d/new ./e/new ./e/old ./keep "; err != nil || string(out) != want {
		t.Errorf("got %q %v, want %q", out, err, want)
	}
}

func TestStoreIsPrivate(t *testing.T) {
	s := testStore(t)
	img := loadTest(t, s, testImage(t, testLayer(t, "a=1")), "a:1")
	for _, dir := range []string{s.path(), s.layersDir()} {
		info, err := os.Stat(dir)
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has the mode %s", dir, info.Mode())
		}
	}
	info, err := os.Stat(img.Layers[0])
	must(t, err)
	if info.Mode().Perm() != 0o755 {
		t.Errorf("the root of a layer has the mode %s", info.Mode())
	}
}

func TestListRemovePrune(t *testing.T) {
	now := time.Now()
	used := map[string]bool{}
	s := testStore(t, func(o *Options) {
		o.Now = func() time.Time { return now }
		o.InUse = func() map[string]bool { return used }
	})
	shared := testLayer(t, "shared=12345")
	a := loadTest(t, s, testImage(t, shared, testLayer(t, "a=1")), "a:1", "a:2")
	b := loadTest(t, s, testImage(t, shared, testLayer(t, "b=22")), "b:1")
	used[b.ID] = true
	list, err := s.List()
	must(t, err)
	type row struct {
		Names        []string
		Size, Unique int64
		InUse        bool
	}
	var got []row
	for _, l := range list {
		got = append(got, row{l.Names, l.Size, l.Unique, l.InUse})
	}
	if diff := cmp.Diff([]row{{[]string{"a:1", "a:2"}, 6, 1, false}, {[]string{"b:1"}, 7, 2, true}}, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}

	if _, err := s.Remove(t.Context(), "b:1"); !errors.Is(err, ErrInUse) {
		t.Errorf("removing what is in use: %v", err)
	}
	if _, err := s.Remove(t.Context(), "c:1"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("removing what is not there: %v", err)
	}
	pruned, err := s.Remove(t.Context(), "a:1")
	must(t, err)
	if pruned.Bytes != 0 {
		t.Errorf("removing one of two names freed %d bytes", pruned.Bytes)
	}
	if _, err := s.Image(t.Context(), "a:1"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("the removed name: %v", err)
	}
	checkImage(t, s, "a:2", "a", "1")

	// Named images stay with Named; used ones for a while with Used.
	for _, keep := range []Keep{{Named: true}, {Used: time.Hour}} {
		pruned, err = s.Prune(t.Context(), keep)
		must(t, err)
		if len(pruned.Images) != 0 {
			t.Errorf("%+v pruned %q", keep, pruned.Images)
		}
	}
	now = now.Add(2 * time.Hour)
	pruned, err = s.Prune(t.Context(), Keep{Used: time.Hour})
	must(t, err)
	if diff := cmp.Diff(Pruned{Images: []string{"docker.io/library/a:2"}, Bytes: 1}, pruned); diff != "" {
		t.Errorf("pruned (-want +got):\n%s", diff)
	}
	if exists(a.Layers[1]) || !exists(a.Layers[0]) {
		t.Error("the layer of one image must go, the shared one stay")
	}
	used[b.ID] = false
	short := strings.TrimPrefix(b.ID, "sha256:")[:12]
	pruned, err = s.Remove(t.Context(), short)
	must(t, err)
	if pruned.Bytes != 7 {
		t.Errorf("freed %d bytes, want 7", pruned.Bytes)
	}
	checkEmpty(t, s)
}

func TestTouchedImagesGoLast(t *testing.T) {
	now := time.Now()
	full := false
	s := testStore(t, func(o *Options) {
		o.Now = func() time.Time { return now }
		o.InUse = func() map[string]bool { return nil }
	})
	loadTest(t, s, testImage(t, testLayer(t, "a=1")), "a:1")
	loadTest(t, s, testImage(t, testLayer(t, "b=1")), "b:1")
	now = now.Add(time.Hour)
	_, err := s.Image(t.Context(), "a:1")
	must(t, err)
	// One image too many on the disk: the one that was asked for longest ago goes.
	s.opts.Enough = func(Disk) bool {
		list, _ := s.List()
		return !full || len(list) < 2
	}
	full = true
	loadTest(t, s, testImage(t, testLayer(t, "c=1")), "c:1")
	list, err := s.List()
	must(t, err)
	var names []string
	for _, l := range list {
		names = append(names, l.Names...)
	}
	if diff := cmp.Diff([]string{"a:1", "c:1"}, names); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// TestHugePromise: an image that says it is larger than the disk must not cost the others their place.
// TestDiskFullForReal unpacks onto a file system that is too small.
// TestTwoStores has two processes' worth of stores on one directory.
// TestLayerRemovedMeanwhile prunes a layer between the moment a pull sees it and the moment it needs it.
// TestCrash kills a process in the middle of a pull, at a different byte each time.
// killPoint serves blobs and holds the connection when so many bytes of layers have been sent in all.
// TestCrashInCommit puts the store into every state that a crash between two renames can leave.
func TestHostileConfig(t *testing.T) {
	s := testStore(t)
	layer := testLayer(t, "a=1")
	many := make([]string, 100_000)
	for i := range many {
		many[i] = fmt.Sprintf("V%d=x", i)
	}
	for name, cfg := range map[string]v1.Config{
		"huge env":     {Env: many},
		"a huge value": {Env: []string{"A=" + strings.Repeat("x", 200_000)}},
		"a zero byte":  {User: "root\x00"},
		"many volumes": {Volumes: func() map[string]struct{} {
			m := map[string]struct{}{}
			for _, v := range many {
				m[v] = struct{}{}
			}
			return m
		}()},
	} {
		img, err := mutate.AppendLayers(empty.Image, layer)
		must(t, err)
		img, err = mutate.Config(img, cfg)
		must(t, err)
		if _, err := s.LoadImage(t.Context(), img, "evil:1"); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	checkEmpty(t, s)
	for raw, want := range map[string]string{
		`{"config":{"Env":"A=b"}}`:              "cannot unmarshal string",
		`{"config":{"Entrypoint":[1]}}`:         "cannot unmarshal number",
		`[]`:                                    "cannot unmarshal array",
		``:                                      "unexpected end",
		`{"os":"windows"}`:                      `made for "windows"`,
		`{"rootfs":{"diff_ids":["../../etc"]}}`: "not a layer's digest",
		`{"config":{"Env":["` + strings.Repeat("x", maxConfigBytes) + `"]}}`: "at most",
	} {
		if _, err := parseConfig([]byte(raw)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", raw, err, want)
		}
	}
}

func TestLoadFaults(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, files ...string) string {
		d := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Join(d, "blobs/sha256"), 0o755))
		for _, f := range files {
			path, content, _ := strings.Cut(f, "=")
			must(t, os.WriteFile(filepath.Join(d, path), []byte(content), 0o600))
		}
		return d
	}
	must(t, os.WriteFile(filepath.Join(dir, "junk"), []byte(strings.Repeat("junk", 999)), 0o600))
	outside := write("link")
	must(t, os.Symlink("/etc/passwd", filepath.Join(outside, "manifest.json")))
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):                                     "no such file",
		filepath.Join(dir, "junk"):                                     "invalid",
		write("empty"):                                                 "neither a docker archive",
		write("json", "manifest.json=nope"):                            "invalid manifest.json",
		write("no images", "manifest.json=[]"):                         "it names no image",
		write("missing", `manifest.json=[{"Config":"c","Layers":[]}]`): "cannot read configuration",
		write("climbing", `manifest.json=[{"Config":"../../../../../../etc/passwd","Layers":[]}]`): "cannot read configuration",
		write("count", `manifest.json=[{"Config":"c","Layers":["x"]}]`, `c={"os":"linux"}`):        "1 layers, the configuration names 0",
		outside: "escapes",
	} {
		s := testStore(t)
		_, err := s.Load(t.Context(), path)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(path), err, want)
		}
		checkEmpty(t, s)
	}
}

func BenchmarkImage(b *testing.B) {
	home := b.TempDir()
	s, err := Open(Options{StateDir: home, Home: home})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.LoadImage(b.Context(), empty.Image, "a:1"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Image(b.Context(), "a:1"); err != nil {
			b.Fatal(err)
		}
	}
}
