package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"berth/runtime"
)

// testStore opens a store in a directory of its own. Unpacking gives files to their owners, so these tests need root.
func testStore(t *testing.T, change ...func(*Options)) *Store {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root: layers are unpacked with their owners, devices and trusted attributes")
	}
	home := t.TempDir()
	opts := Options{StateDir: filepath.Join(home, "state"), Home: home, Getenv: func(string) string { return "" }}
	for _, c := range change {
		c(&opts)
	}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// testLayer makes a layer of files; a name ending in a slash is a directory.
func testLayer(t *testing.T, files ...string) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		hdr := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}
		if strings.HasSuffix(name, "/") {
			hdr.Typeflag, hdr.Mode = tar.TypeDir, 0o755
		}
		must(t, tw.WriteHeader(hdr))
		_, err := tw.Write([]byte(content))
		must(t, err)
	}
	must(t, tw.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	must(t, err)
	return l
}

func testImage(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	must(t, err)
	img, err = mutate.Config(img, v1.Config{
		Entrypoint: []string{"/bin/app"}, Cmd: []string{"-v"}, Env: []string{"A=b", "broken"}, WorkingDir: "srv", User: "7:8",
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, Volumes: map[string]struct{}{"/../../data": {}},
	})
	must(t, err)
	return img
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeArchive(t *testing.T, path string, images map[string]v1.Image) {
	t.Helper()
	tagged := map[name.Tag]v1.Image{}
	for n, img := range images {
		tag, err := name.NewTag(n)
		must(t, err)
		tagged[tag] = img
	}
	must(t, tarball.MultiWriteToFile(path, tagged))
}

func TestLoadDockerArchive(t *testing.T) {
	s := testStore(t)
	shared := testLayer(t, "etc/", "etc/os=berth")
	a := testImage(t, shared, testLayer(t, "a=1"))
	b := testImage(t, shared, testLayer(t, "b=22"))
	path := filepath.Join(t.TempDir(), "images.tar")
	writeArchive(t, path, map[string]v1.Image{"shop/a:1": a, "localhost:5000/b:2": b})
	loaded, err := s.Load(t.Context(), path)
	must(t, err)
	if len(loaded) != 2 {
		t.Fatalf("loaded %d images, want 2", len(loaded))
	}
	imgA, err := s.Image(t.Context(), "shop/a:1")
	must(t, err)
	imgB, err := s.Image(t.Context(), "localhost:5000/b:2")
	must(t, err)
	if len(imgA.Layers) != 2 || len(imgB.Layers) != 2 || imgA.Layers[0] != imgB.Layers[0] || imgA.Layers[1] == imgB.Layers[1] {
		t.Errorf("layers are not shared: %q and %q", imgA.Layers, imgB.Layers)
	}
	got, err := os.ReadFile(filepath.Join(imgA.Layers[0], "etc/os"))
	must(t, err)
	if string(got) != "berth" {
		t.Errorf("the shared layer holds %q", got)
	}
	want := runtime.ImageConfig{
		User: "7:8", Env: []string{"A=b"}, Entrypoint: []string{"/bin/app"}, Cmd: []string{"-v"}, WorkingDir: "/srv",
		ExposedPorts: []string{"80/tcp"}, Volumes: []string{"/data"},
	}
	if diff := cmp.Diff(want, imgA.Config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if imgA.Size != 6 || imgB.Size != 7 {
		t.Errorf("sizes are %d and %d, want 6 and 7", imgA.Size, imgB.Size)
	}
	byID, err := s.Image(t.Context(), imgA.ID)
	must(t, err)
	if diff := cmp.Diff(imgA.Layers, byID.Layers); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Image(t.Context(), "shop/a:2"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("an unknown tag gives %v", err)
	}
}

func TestLoadForms(t *testing.T) {
	img := testImage(t, testLayer(t, "f=content"))
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain.tar")
	writeArchive(t, plain, map[string]v1.Image{"app:1": img})
	data, err := os.ReadFile(plain)
	must(t, err)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, err = zw.Write(data)
	must(t, err)
	must(t, zw.Close())
	must(t, os.WriteFile(filepath.Join(dir, "zipped.tar.gz"), zipped.Bytes(), 0o600))
	writeLayout(t, filepath.Join(dir, "layout"), img, map[string]string{annotationRefName: "app:1"})
	writeLayout(t, filepath.Join(dir, "containerd"), img, map[string]string{annotationName: "docker.io/library/app:1", annotationRefName: "1"})
	tarDir(t, filepath.Join(dir, "layout"), filepath.Join(dir, "layout.tar"))

	for _, form := range []string{"plain.tar", "zipped.tar.gz", "layout", "containerd", "layout.tar"} {
		t.Run(form, func(t *testing.T) {
			s := testStore(t)
			loaded, err := s.Load(t.Context(), filepath.Join(dir, form))
			must(t, err)
			if diff := cmp.Diff([]string{"docker.io/library/app:1"}, loaded[0].Names); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			checkImage(t, s, "app:1", "f", "content")
		})
	}
	t.Run("stream", func(t *testing.T) {
		s := testStore(t)
		_, err := s.LoadReader(t.Context(), &zipped)
		must(t, err)
		checkImage(t, s, "app:1", "f", "content")
	})
}

func checkImage(t *testing.T, s *Store, ref, file, want string) {
	t.Helper()
	img, err := s.Image(t.Context(), ref)
	must(t, err)
	for _, layer := range slices.Backward(img.Layers) {
		if got, err := os.ReadFile(filepath.Join(layer, file)); err == nil {
			if string(got) != want {
				t.Errorf("%s of %s is %q, want %q", file, ref, got, want)
			}
			return
		}
	}
	t.Errorf("%s of %s is in none of %q", file, ref, img.Layers)
}

func writeLayout(t *testing.T, dir string, img v1.Image, annotations map[string]string) {
	t.Helper()
	p, err := layout.Write(dir, empty.Index)
	must(t, err)
	must(t, p.AppendImage(img, layout.WithAnnotations(annotations)))
}

func tarDir(t *testing.T, dir, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	tw := tar.NewWriter(f)
	must(t, tw.AddFS(os.DirFS(dir)))
	must(t, tw.Close())
}
