package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// CloneTree copies the mount that from leads to, with everything below it when recursive, as a tree that is mounted nowhere:
// it lives as long as its descriptor, or until it is attached.
func CloneTree(from *FD, recursive bool) (*FD, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	n, err := unix.OpenTree(from.Int(), "", flags)
	if err != nil {
		return nil, os.NewSyscallError("open_tree", err)
	}
	return NewFD(n), nil
}

// SetMount changes the attributes of a mount and of all below it when recursive.
func SetMount(tree *FD, attr unix.MountAttr, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(tree.Int(), "", flags, &attr))
}
