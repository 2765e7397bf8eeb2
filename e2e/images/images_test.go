package images

import (
	"archive/tar"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestImages wants every image whole, small, with the program it is made for in it, and the same twice.
func TestImages(t *testing.T) {
	// Images are made anew, but not all of Go's library: what is compiled is kept below the same directory.
	compiled, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(compiled)))
	t.Setenv(CacheVar, "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	set, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	for image, program := range map[string]string{
		Busybox: "bin/busybox", Tool: "bin/tool", Nginx: "usr/sbin/nginx", Redis: "usr/bin/redis-server",
		Postgres: strings.TrimPrefix(postgresBin(), "/") + "/postgres",
	} {
		t.Run(image, func(t *testing.T) {
			img, err := set.Image(image)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(img); err != nil {
				t.Error(err)
			}
			r := mutate.Extract(img)
			defer r.Close()
			found, size := false, int64(0)
			for tr := tar.NewReader(r); ; {
				h, err := tr.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				found = found || h.Name == program
				size += h.Size
			}
			if !found {
				t.Errorf("%s is not in it", program)
			}
			if size > 96<<20 { // 30 of postgres are the data of its library for all scripts of the world
				t.Errorf("%d bytes: too big for a test image", size)
			}
			first, _ := img.Digest()
			_, build, err := recipe(image)
			if err != nil {
				t.Fatal(err)
			}
			again, err := build()
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "layout")
			if err := SaveLayout(dir, Ref(image), again); err != nil {
				t.Fatal(err)
			}
			if _, err := layout.FromPath(dir); err != nil {
				t.Error(err)
			}
			a, _ := img.ConfigName()
			b, _ := again.ConfigName()
			if a != b {
				t.Errorf("made twice, it differs: %v and %v (%v)", a, b, first)
			}
		})
	}
}
