package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// makeSkeleton makes the lowest layer of every container: the places that the kernel's file systems and berth's own files are mounted on.
// An image that has them itself hides these.
func makeSkeleton(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, "proc"), filepath.Join(dir, "sys"), filepath.Join(dir, "dev"), filepath.Join(dir, "etc")} {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot make skeleton: %w", err)
		}
		if err := os.Chmod(d, 0o755); err != nil { // whatever the umask
			return fmt.Errorf("cannot make skeleton: %w", err)
		}
	}
	for _, name := range etcFiles() {
		f, err := os.OpenFile(filepath.Join(dir, "etc", name), os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("cannot make skeleton: %w", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("cannot make skeleton: %w", err)
		}
	}
	return nil
}
