// Package demo is what a newcomer sees first: an image made of berth's own binary, a small web page to serve from it, and a manifest.
package demo

import (
	"archive/tar"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// ImageName is the reference the demo's manifest states. The registry does not exist: nothing is ever pulled.
const ImageName = "demo.berth.local/web:1"

// Image makes an image that holds nothing but the given static binary, with `berth demo-web` as its program.
func Image(binary string) (v1.Image, error) {
	if err := static(binary); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeLayer(w, binary)) }()
		return r, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the demo's layer: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("cannot make the demo's image: %w", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("cannot make the demo's image: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", goarch
	file.Config.Entrypoint = []string{"/berth", WebCommand}
	file.Config.User = "65534:65534"
	file.Config.WorkingDir = "/"
	img, err = mutate.ConfigFile(img, file)
	if err != nil {
		return nil, fmt.Errorf("cannot make the demo's image: %w", err)
	}
	return img, nil
}

// static refuses a binary that needs a loader: there is none in the demo's image.
func static(binary string) error {
	f, err := elf.Open(binary)
	if err != nil {
		return fmt.Errorf("cannot read berth's own binary: %w", err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("cannot make the demo's image: %s is not static; build it with `make build`, or CGO_ENABLED=0", binary)
		}
	}
	return nil
}

// writeLayer writes a tar stream that is the same for the same binary.
func writeLayer(w io.Writer, binary string) error {
	src, err := os.Open(binary)
	if err != nil {
		return fmt.Errorf("cannot read berth's own binary: %w", err)
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return fmt.Errorf("cannot read berth's own binary: %w", err)
	}
	tw := tar.NewWriter(w)
	epoch := time.Unix(0, 0)
	for _, dir := range []string{"etc/", "tmp/"} {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		if err := tw.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: mode, ModTime: epoch}); err != nil {
			return err
		}
	}
	passwd := "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
	if err := tw.WriteHeader(&tar.Header{Name: "etc/passwd", Mode: 0o644, Size: int64(len(passwd)), ModTime: epoch}); err != nil {
		return err
	}
	if _, err := io.WriteString(tw, passwd); err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: "berth", Mode: 0o755, Size: info.Size(), ModTime: epoch}); err != nil {
		return err
	}
	if _, err := io.Copy(tw, src); err != nil {
		return err
	}
	return tw.Close()
}
