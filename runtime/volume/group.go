package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
)

// The permissions that the group of a volume gets, as a kubelet gives them: to read and write, in directories to enter as well, and
// new files are the group's.
const (
	groupFile = 0o660
	groupDir  = 0o2770
)

// deepest is how deep directories of a volume are followed: each level holds a descriptor, and a container may make any number of them.
const deepest = 1000

// GiveToGroup makes a volume and everything in it the group's. What is so already is not touched. With onMismatch only the topmost
// directory is looked at, and the rest is left alone when that is right. The tree may be changed by containers meanwhile: every step
// goes through a descriptor, no symbolic link is followed.
func GiveToGroup(vol *sys.FD, gid uint32, onMismatch bool) error {
	st, err := vol.Stat()
	if err == nil && (!onMismatch || st.Gid != gid || st.Mode&groupDir != groupDir) {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = giveBelow(vol, gid, 0)
		}
		// The root comes last: what was interrupted is found unfinished.
		err = errors.Join(err, give(vol, st, gid))
	}
	if err != nil {
		return fmt.Errorf("cannot give a volume to group %d: %w", gid, err)
	}
	return nil
}

func give(fd *sys.FD, st unix.Stat_t, gid uint32) error {
	mode := st.Mode & 0o7777
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return unlessSame(st.Gid == gid, func() error { return fd.GiveToGroup(gid) })
	case unix.S_IFDIR:
		mode |= groupDir
	default:
		mode |= groupFile
	}
	return unlessSame(st.Gid == gid && mode == st.Mode&0o7777, func() error {
		return fd.Own(mode, sys.Owner{UID: -1, GID: int(gid)})
	})
}

func unlessSame(same bool, change func() error) error {
	if same {
		return nil
	}
	return change()
}

func giveBelow(dir *sys.FD, gid uint32, depth int) error {
	if depth > deepest {
		return fmt.Errorf("directories are deeper than %d", deepest)
	}
	open, err := sys.OpenBeneath(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	names := open.File("volume")
	defer func() { _ = names.Close() }()
	for {
		entries, err := names.ReadDir(256)
		for _, e := range entries {
			if err := giveEntry(dir, e.Name(), gid, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func giveEntry(dir *sys.FD, name string, gid uint32, depth int) error {
	fd, err := sys.OpenBeneath(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	defer func() { _ = fd.Close() }()
	st, err := fd.Stat()
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := giveBelow(fd, gid, depth+1); err != nil {
			return err
		}
	}
	return give(fd, st, gid)
}
