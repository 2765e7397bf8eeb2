package sys

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenPath opens path for reference only, following symbolic links as the machine's own programs would.
func OpenPath(path string) (*FD, error) {
	return open(unix.AT_FDCWD, path, unix.O_PATH, 0)
}

// OpenDir opens a directory of berth's own. A symbolic link in the last place is refused.
func OpenDir(path string) (*FD, error) {
	return open(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

func open(dir int, path string, flags int, mode uint32) (*FD, error) {
	var n int
	err := retry(func() (err error) {
		n, err = unix.Openat(dir, path, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return NewFD(n), nil
}

// openat2Tries bounds how often a lookup is repeated that a concurrent rename disturbed (EAGAIN).
const openat2Tries = 128

// OpenInRoot opens path below root for reference only, as a process whose root directory is root would: ".." and symbolic
// links never lead out, links of procfs are not followed.
func OpenInRoot(root *FD, path string) (*FD, error) {
	return openInRoot(root, path, unix.O_PATH, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenBeneath opens path below root; anything that would lead out is an error, symbolic links are refused altogether.
func OpenBeneath(root *FD, path string, flags int) (*FD, error) {
	return openInRoot(root, path, flags, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
}

func openInRoot(root *FD, path string, flags int, resolve uint64) (*FD, error) {
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for try := 0; ; try++ {
		n, err := unix.Openat2(root.Int(), path, how)
		switch {
		case err == nil:
			return NewFD(n), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN) && try < openat2Tries:
		default:
			return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
		}
	}
}

// Owner is whom new files belong to, in the machine's own ids.
type Owner struct {
	UID, GID int
}

// MkdirAllInRoot makes the missing directories of path below root, with exactly this mode and owner, and opens the last.
// Each component is resolved inside root.
func MkdirAllInRoot(root *FD, path string, mode uint32, owner Owner) (*FD, error) {
	clean := filepath.Clean("/" + path)
	for {
		fd, err := OpenInRoot(root, clean)
		if err == nil || !errors.Is(err, unix.ENOENT) {
			return fd, err
		}
		if err := mkdirFirstMissing(root, clean, mode, owner); err != nil {
			return nil, err
		}
	}
}

// mkdirFirstMissing makes the topmost missing component of clean.
func mkdirFirstMissing(root *FD, clean string, mode uint32, owner Owner) error {
	parent, err := OpenInRoot(root, "/")
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	var done strings.Builder
	for name := range strings.SplitSeq(strings.Trim(clean, "/"), "/") {
		done.WriteString("/" + name)
		next, err := OpenInRoot(root, done.String())
		if errors.Is(err, unix.ENOENT) {
			return mkdirat(parent, name, mode, owner)
		}
		if err != nil {
			return err
		}
		_ = parent.Close()
		parent = next
	}
	return nil
}

// mkdirat makes one directory. EEXIST is an error: it means a dangling symbolic link, or that somebody else is at work in there.
// Mode and owner are set through a descriptor, so that a name swapped for a link meanwhile is never followed.
func mkdirat(parent *FD, name string, mode uint32, owner Owner) error {
	if err := unix.Mkdirat(parent.Int(), name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	fd, err := open(parent.Int(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = fd.Close() }()
	return fd.Own(mode, owner)
}

// GiveToGroup changes the group of what f is open on, and nothing else.
func (f *FD) GiveToGroup(gid uint32) error {
	return os.NewSyscallError("fchownat", unix.Fchownat(f.Int(), "", -1, int(gid), unix.AT_EMPTY_PATH))
}

// Own sets mode and owner of what f is open on, whatever its name leads to by now.
func (f *FD) Own(mode uint32, owner Owner) error {
	if err := unix.Fchownat(f.Int(), "", owner.UID, owner.GID, unix.AT_EMPTY_PATH); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	// chmod comes last: chown clears the setgid bit. fchmod does not take O_PATH descriptors; the link of procfs leads to the very inode.
	return os.NewSyscallError("chmod", unix.Fchmodat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(f.Int()), mode, 0))
}
