package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
)

// A walk rests for restFor after each restAfter files: it never takes more than about a third of one processor from those who work, and the disk has time
// for others in between. 1,000 files take some 2 ms when the kernel has them in memory.
const (
	restAfter = 1000
	restFor   = 5 * time.Millisecond
)

// Used returns what a file, or a directory and everything in it, takes of the disk, in bytes, as du counts it: whole blocks, and what has several names once.
// Nothing at path is nothing used. The tree may be changed by containers meanwhile: every step goes through a descriptor, no symbolic link is followed. With
// an error what was found until then is returned as well.
func Used(ctx context.Context, path string) (int64, error) {
	parent, err := sys.OpenDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot measure %s: %w", path, err)
	}
	defer func() { _ = parent.Close() }()
	w := walk{ctx: ctx}
	if err := w.entry(parent, filepath.Base(path), 0); err != nil {
		return w.bytes, fmt.Errorf("cannot measure %s: %w", path, err)
	}
	return w.bytes, nil
}

// walk adds up one tree.
type walk struct {
	ctx   context.Context //nolint:containedctx // a walk is one call
	seen  int
	bytes int64
}

// entry adds what a name stands for. One that is gone meanwhile is nothing.
func (w *walk) entry(dir *sys.FD, name string, depth int) error {
	st, err := sys.StatIn(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := w.rest(); err != nil {
		return err
	}
	const block = 512 // the unit of st_blocks, whatever the file system's is
	size := st.Blocks * block
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		// All names of a file are in the tree, for none crosses a mount: each gets its share, and no list of files with several is needed.
		w.bytes += size / max(1, int64(st.Nlink))
		return nil
	}
	w.bytes += size
	return w.below(dir, name, depth)
}

func (w *walk) below(dir *sys.FD, name string, depth int) error {
	if depth > deepest {
		return fmt.Errorf("directories are deeper than %d", deepest)
	}
	here, err := sys.OpenBeneath(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil // something else by now
	}
	if err != nil {
		return err
	}
	defer func() { _ = here.Close() }()
	names, err := sys.OpenBeneath(here, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	list := names.File(name)
	defer func() { _ = list.Close() }()
	return w.each(here, list, depth)
}

// each adds the entries of a directory, a few at a time: there may be millions.
func (w *walk) each(here *sys.FD, list *os.File, depth int) error {
	for {
		names, err := list.Readdirnames(128)
		for _, n := range names {
			if err := w.entry(here, n, depth+1); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) { // the directory itself may be gone
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *walk) rest() error {
	if w.seen++; w.seen%restAfter != 0 {
		return nil
	}
	pause := time.NewTimer(restFor)
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}
