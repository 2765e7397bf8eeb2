package sys

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Put writes text into the file of this path in one call. flags go with O_WRONLY. It asks nobody else about the file: package os hands each
// one to its poller first, which for a file of a cgroup takes longer than writing to it.
func Put(path string, flags int, mode uint32, text []byte) error {
	fd, err := open(unix.AT_FDCWD, path, unix.O_WRONLY|flags, mode)
	if err != nil {
		return err
	}
	n, err := unix.Write(fd.Int(), text)
	if closed := fd.Close(); err == nil {
		err = closed
	}
	if err == nil && n != len(text) {
		err = unix.ENOSPC
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// PutNew makes or empties the file of this path and writes text into it.
func PutNew(path string, mode uint32, text []byte) error {
	return Put(path, unix.O_CREAT|unix.O_TRUNC, mode, text)
}

// Replace puts a file in the place of another at once, by way of temp.
func Replace(path, temp string, mode uint32, text []byte) error {
	if err := PutNew(temp, mode, text); err != nil {
		return err
	}
	return rename(temp, path)
}

// ReplaceSynced is Replace, and after a power cut the old or the new text is there.
func ReplaceSynced(path, temp string, mode uint32, text []byte) error {
	if err := Put(temp, unix.O_CREAT|unix.O_TRUNC|unix.O_SYNC, mode, text); err != nil {
		return err
	}
	if err := rename(temp, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir waits until the names in a directory are on the disk.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func rename(temp, path string) error {
	if err := unix.Renameat(unix.AT_FDCWD, temp, unix.AT_FDCWD, path); err != nil {
		return &os.LinkError{Op: "rename", Old: temp, New: path, Err: err}
	}
	return nil
}
