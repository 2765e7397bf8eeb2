package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	xattrRecord = "SCHILY.xattr."
	// maxXattrs and maxXattrBytes bound what one entry may carry. The kernel takes 64 KiB per value.
	maxXattrs     = 64
	maxXattrBytes = 64 << 10
)

// maxID is the greatest user or group: 2^32-1 means "no id" to the kernel.
const maxID = 1<<32 - 2

func checkOwner(hdr *tar.Header) error {
	if hdr.Uid < 0 || hdr.Gid < 0 || int64(hdr.Uid) > maxID || int64(hdr.Gid) > maxID {
		return fmt.Errorf("%w: owner %d:%d is out of range", ErrMalformed, hdr.Uid, hdr.Gid)
	}
	return nil
}

// permissions are the bits that chmod knows.
func permissions(hdr *tar.Header) uint32 { return uint32(hdr.Mode) & 0o7777 }

// setFileMetadata sets owner, mode, attributes and time, in this order: a change of the owner drops setuid bits and capabilities.
func setFileMetadata(fd int, hdr *tar.Header) error {
	if err := setDirMetadata(fd, hdr); err != nil {
		return err
	}
	t := modTime(hdr)
	times := []unix.Timespec{timespec(t), timespec(t)}
	return futimens(fd, times)
}

// setDirMetadata is setFileMetadata without the time, which a directory gets when nothing is written into it any more.
func setDirMetadata(fd int, hdr *tar.Header) error {
	if err := checkOwner(hdr); err != nil {
		return err
	}
	if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, permissions(hdr)); err != nil {
		return err
	}
	return setXattrs(fd, hdr)
}

// setLinkMetadata sets owner and time of a symlink, which has no mode.
func setLinkMetadata(at place, hdr *tar.Header) error {
	if err := checkOwner(hdr); err != nil {
		return err
	}
	if err := unix.Fchownat(at.dirFD, at.base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return setTimeAt(at.dirFD, at.base, modTime(hdr))
}

// makeNode makes a FIFO or a device. The directory is below a 0700 one and nothing else writes there, but the mode is set without following anyway.
func makeNode(hdr *tar.Header, at place, format uint32, dev int) error {
	if err := checkOwner(hdr); err != nil {
		return err
	}
	if err := unix.Mknodat(at.dirFD, at.base, format|0o600, dev); err != nil {
		return err
	}
	fd, err := unix.Openat(at.dirFD, at.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchownat(fd, "", hdr.Uid, hdr.Gid, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), permissions(hdr)); err != nil {
		return err
	}
	return setTimeAt(at.dirFD, at.base, modTime(hdr))
}

// harmlessDevice knows the devices that every container has anyway. Any other would hand the machine's hardware to the image.
func harmlessDevice(hdr *tar.Header) bool {
	if hdr.Typeflag != tar.TypeChar {
		return false
	}
	switch [2]int64{hdr.Devmajor, hdr.Devminor} {
	case [2]int64{1, 3}, [2]int64{1, 5}, [2]int64{1, 7}, [2]int64{1, 8}, [2]int64{1, 9}, [2]int64{5, 0}:
		return true
	}
	return false
}

// setXattrs sets the attributes an image may have. All others are dropped: they steer overlayfs and security modules of the machine.
func setXattrs(fd int, hdr *tar.Header) error {
	count := 0
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok || !allowedXattr(name) {
			continue
		}
		if count++; count > maxXattrs || len(value) > maxXattrBytes {
			return fmt.Errorf("%w: extended attributes", ErrTooLarge)
		}
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if errors.Is(err, unix.EOPNOTSUPP) && strings.HasPrefix(name, "user.") {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot set attribute %q: %w", shorten(name), err)
		}
	}
	return nil
}

func allowedXattr(name string) bool {
	if name == "security.capability" {
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func timespec(t time.Time) unix.Timespec { return unix.NsecToTimespec(t.UnixNano()) }

func setTimeAt(dirFD int, name string, t time.Time) error {
	return unix.UtimesNanoAt(dirFD, name, []unix.Timespec{timespec(t), timespec(t)}, unix.AT_SYMLINK_NOFOLLOW)
}

func futimens(fd int, times []unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times, 0)
}
