// Package volume makes the directories that pods see as volumes, and opens them, or parts of them, as trees ready to be mounted.
//
// Paths of the machine are the administrator's and are followed as they are. Everything below a volume may have been arranged by
// a container: it is only ever resolved inside the volume, through descriptors.
package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
)

// Owner says whom the files of a volume belong to, in the machine's own ids.
type Owner struct {
	// Root is what root inside the pod is on the machine: 0 without a user namespace.
	Root uint32
	// FSGroup owns the pod's volumes; nil for none. As the pod counts, without Root added.
	FSGroup *int64
}

// Group is the group of new files.
func (o Owner) Group() uint32 {
	if o.FSGroup != nil {
		return o.Root + uint32(*o.FSGroup)
	}
	return o.Root
}

// EmptyDirMode is the mode of an emptyDir: anybody in the pod may write; with an fsGroup new files belong to it.
func (o Owner) EmptyDirMode() uint32 {
	if o.FSGroup != nil {
		return 0o2777
	}
	return 0o777
}

func (o Owner) ids() sys.Owner { return sys.Owner{UID: int(o.Root), GID: int(o.Group())} }

// MakeEmptyDir makes the directory of an emptyDir. One that exists is left as it is.
func MakeEmptyDir(path string, owner Owner) error {
	if err := os.Mkdir(path, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot make empty directory: %w", err)
	}
	fd, err := sys.OpenDir(path)
	if err != nil {
		return fmt.Errorf("cannot make empty directory: %w", err)
	}
	defer func() { _ = fd.Close() }()
	if err := fd.Own(owner.EmptyDirMode(), owner.ids()); err != nil {
		return fmt.Errorf("cannot make empty directory: %w", err)
	}
	return nil
}

// OpenSubPath opens a part of a volume. With create, missing directories are made like the volume itself.
func OpenSubPath(vol *sys.FD, sub string, create bool) (*sys.FD, error) {
	if !create {
		fd, err := sys.OpenInRoot(vol, sub)
		if err != nil {
			return nil, fmt.Errorf("cannot open subPath %q: %w", sub, err)
		}
		return fd, nil
	}
	st, err := vol.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot open subPath %q: %w", sub, err)
	}
	fd, err := sys.MkdirAllInRoot(vol, sub, st.Mode&0o7777, sys.Owner{UID: int(st.Uid), GID: int(st.Gid)})
	if err != nil {
		return nil, fmt.Errorf("cannot open subPath %q: %w", sub, err)
	}
	return fd, nil
}

// TreeOptions say how a volume appears to a container.
type TreeOptions struct {
	ReadOnly bool
	// NoSUID, NoDev and NoExec take the meaning from set-id bits, device nodes and programs.
	NoSUID, NoDev, NoExec bool
	// Recursive takes along what is mounted below, and Follow also what will be.
	Recursive, Follow bool
}

// Tree copies what fd leads to as a mount tree of its own, ready to be attached elsewhere. It never propagates mounts to the original.
func Tree(fd *sys.FD, o TreeOptions) (*sys.FD, error) {
	tree, err := sys.CloneTree(fd, o.Recursive)
	if err != nil {
		return nil, err
	}
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if o.Follow {
		attr.Propagation = unix.MS_SLAVE
	}
	for bit, on := range map[uint64]bool{
		unix.MOUNT_ATTR_RDONLY: o.ReadOnly, unix.MOUNT_ATTR_NOSUID: o.NoSUID, unix.MOUNT_ATTR_NODEV: o.NoDev, unix.MOUNT_ATTR_NOEXEC: o.NoExec,
	} {
		if on {
			attr.Attr_set |= bit
		}
	}
	if err := sys.SetMount(tree, attr, o.Recursive); err != nil {
		_ = tree.Close()
		return nil, err
	}
	return tree, nil
}
