package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// installed finds a program that `make deps` installs. A machine that was brought its images has had nothing installed: there the scene is left out.
func installed(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv(images.CacheVar) != "" {
		t.Skipf("this machine has no %s", program)
	}
	if err != nil {
		t.Fatalf("%v: make deps installs it", err)
	}
	return path
}

// variant is the test program's image with another digest.
func variant(t *testing.T, tag string) v1.Image {
	t.Helper()
	set, err := images.Open()
	if err != nil {
		t.Fatal(err)
	}
	img, err := set.Image(images.Tool)
	if err != nil {
		t.Fatal(err)
	}
	if img, err = images.Config(img, func(c *v1.Config) { c.Env = append(c.Env, "VARIANT="+tag) }); err != nil {
		t.Fatal(err)
	}
	return img
}

// An image has the volumes that it names and the right to change its root, in a root file system that is read-only.
func TestImageAsItIsMeant(t *testing.T) {
	b := harness.New(t)
	img, err := images.Config(variant(t, "meant"), func(c *v1.Config) { c.Volumes = map[string]struct{}{"/data/here": {}} })
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(t.TempDir(), "layout")
	if err := images.SaveLayout(layout, "localhost/e2e/tool:meant", img); err != nil {
		t.Fatal(err)
	}
	b.Must("image", "load", layout)
	script := "chroot / echo chroot; touch /data/here/x && echo here; touch /data/x; exec sleep 1000"
	b.Write("p.yaml", pod("p", `image: "localhost/e2e/tool:meant", command: [sh, -c, "`+script+`"], securityContext: {readOnlyRootFilesystem: true}`).String())
	b.Up()
	b.UntilPod("p", "to run", running)
	b.Until("what it says", func() error {
		if out := b.Must("logs", "p"); out != "chroot\nhere\ntouch: /data/x: Read-only file system\n" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
}

// loadVariant loads such an image from an OCI layout and returns its reference.
func loadVariant(t *testing.T, b *harness.Berth, tag string) string {
	t.Helper()
	ref := "localhost/e2e/tool:" + tag
	dir := filepath.Join(t.TempDir(), "layout")
	if err := images.SaveLayout(dir, ref, variant(t, tag)); err != nil {
		t.Fatal(err)
	}
	b.Must("image", "load", dir)
	return ref
}
