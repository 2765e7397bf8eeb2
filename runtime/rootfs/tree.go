package rootfs

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is a directory in which every path is resolved by the kernel as if the directory were the root of the file system.
type tree struct {
	root int
	// dir and dirFD are the directory that was used last: the entries of a tar stream mostly come directory by directory.
	dir   string
	dirFD int
}

func openTree(path string) (*tree, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %q: %w", path, err)
	}
	return &tree{root: fd, dirFD: -1}, nil
}

func (t *tree) close() {
	t.forget()
	unix.Close(t.root)
}

// forget drops the remembered directory. Replacing a name needs no call of it: to replace a name its own directory becomes the remembered one.
func (t *tree) forget() {
	if t.dirFD >= 0 && t.dirFD != t.root {
		unix.Close(t.dirFD)
	}
	t.dir, t.dirFD = "", -1
}

// open resolves a path below the root.
func (t *tree) open(path string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(t.root, path, &how)
		// EAGAIN: something was renamed meanwhile and the kernel could not tell whether the path stayed inside.
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// parent returns the descriptor of a directory, which is made if it is missing. It is valid until the next call.
func (t *tree) parent(dir string) (int, error) {
	if t.dirFD >= 0 && t.dir == dir {
		return t.dirFD, nil
	}
	t.forget()
	fd := t.root
	if dir != "." {
		var err error
		if fd, err = t.openDir(dir); err != nil {
			return -1, err
		}
	}
	t.dir, t.dirFD = dir, fd
	return fd, nil
}

// openDir opens a directory below the root and makes what is missing of its path.
func (t *tree) openDir(dir string) (int, error) {
	fd, err := t.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) {
		return fd, wrapPath(err, dir)
	}
	at := t.root
	defer func() {
		if at != t.root {
			unix.Close(at)
		}
	}()
	for end := 0; end < len(dir); {
		start := end
		if next := strings.IndexByte(dir[start:], '/'); next < 0 {
			end = len(dir)
		} else {
			end = start + next
		}
		prefix := dir[:end]
		fd, err := t.open(prefix, unix.O_PATH|unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(at, dir[start:end], 0o755); err == nil {
				fd, err = t.open(prefix, unix.O_PATH|unix.O_DIRECTORY)
			}
		}
		if err != nil {
			return -1, wrapPath(err, prefix)
		}
		if at != t.root {
			unix.Close(at)
		}
		at = fd
		if end < len(dir) {
			end++
		}
	}
	fd = at
	at = t.root
	return fd, nil
}

// removeAt takes away whatever has a name in a directory, without following it. Nothing there is not an error.
func removeAt(dirFD int, name string) error {
	err := unix.Unlinkat(dirFD, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := clearDir(dirFD, name); err != nil {
		return err
	}
	if err := unix.Unlinkat(dirFD, name, unix.AT_REMOVEDIR); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// clearDir empties a directory. It never leaves it: each step opens the next directory without following symlinks.
func clearDir(dirFD int, name string) error {
	fd, err := unix.Openat(dirFD, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		removed, err := removeChildren(fd)
		if err != nil || removed == 0 {
			return err
		}
		// A directory that changes while it is read may hide an entry: look again until there is none.
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			return err
		}
	}
}

// removeChildren goes through an open directory once and returns how many entries it has removed.
func removeChildren(fd int) (removed int, err error) {
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil || n == 0 {
			return removed, err
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, child := range names {
			if err := removeAt(fd, child); err != nil {
				return removed, err
			}
			removed++
		}
	}
}

func wrapPath(err error, path string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w: %q is not a directory: %w", ErrMalformed, path, err)
	}
	return fmt.Errorf("cannot open %q: %w", path, err)
}
