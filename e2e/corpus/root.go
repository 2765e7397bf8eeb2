package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
)

// ownRoot makes the file system of this machine the lower layer of one of our own, so that the paths that manifests make and write to on their
// machine are not made on this one. Directories of the test lie on a tmpfs.
func ownRoot() error {
	base := "/run/corpus"
	if err := os.MkdirAll(base, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", base, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("cannot make a root: %w", err)
	}
	root := filepath.Join(base, "root")
	for _, d := range []string{"upper", "work", "root", "tmp"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s/upper,workdir=%s/work", base, base)
	if err := syscall.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("cannot make a root: %w", err)
	}
	for _, d := range []string{"/proc", "/sys", "/dev", "/run"} {
		if err := syscall.Mount(d, root+d, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
			return fmt.Errorf("cannot make a root: %s: %w", d, err)
		}
	}
	if err := syscall.Mount(filepath.Join(base, "tmp"), root+"/tmp", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot make a root: %w", err)
	}
	// What was built outside lies below a directory that the new root shows as well: the lower layer is the machine.
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := syscall.Chdir(root); err != nil {
		return err
	}
	if err := syscall.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot change the root: %w", err)
	}
	if err := syscall.Unmount(".", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot leave the old root: %w", err)
	}
	if err := os.Chdir(wd); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.MkdirAll(os.TempDir(), 0o700) // which isolate has made on the old one
}

// mirrored is the path under which a mirror for every registry is asked for an image.
func mirrored(ref string) (string, error) {
	r, err := name.ParseReference(pinned.ReplaceAllString(ref, ""))
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(r.Context().RepositoryStr(), "/") + ":" + r.Identifier(), nil
}
