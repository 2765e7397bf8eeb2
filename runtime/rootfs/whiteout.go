package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// opaqueXattr is how overlayfs, mounted by real root, is told that a directory hides those below it.
const opaqueXattr = "trusted.overlay.opaque"

// isRawWhiteout says that an entry is a whiteout in overlayfs' own form, which only this package may write.
func isRawWhiteout(hdr *tar.Header) bool {
	return hdr.Typeflag == tar.TypeChar && hdr.Devmajor == 0 && hdr.Devminor == 0
}

// opaque hides everything below a directory of this layer.
func (u *unpacker) opaque(dir string, dirFD int) error {
	if dir == "." {
		// overlayfs stacks the roots of all layers whatever they say: the user of the layer leaves out what is below it.
		u.result.Opaque = true
		return nil
	}
	fd, err := unix.Openat(dirFD, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setOpaque(fd)
}

func setOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("cannot mark a directory as opaque: %w", err)
	}
	return nil
}

// isWhiteout recognises a whiteout on disk. Only this package makes them.
func isWhiteout(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

// whiteout hides a name of the layers below. What this layer itself has under the name stays, and hides them as well.
func whiteout(dirFD int, base string) error {
	err := unix.Mknodat(dirFD, base, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	fd, err := unix.Openat(dirFD, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return setOpaque(fd)
}

// dirTimes remembers the times of directories until nothing is written into them any more.
type dirTimes struct {
	entries []dirTime
	bytes   int
}

type dirTime struct {
	name string
	time time.Time
}

// maxDirTimes bounds the memory for remembering. Directories beyond it keep the time of unpacking.
const maxDirTimes = 16 << 20

func (d *dirTimes) add(name string, t time.Time) {
	if d.bytes += len(name) + 48; d.bytes <= maxDirTimes {
		d.entries = append(d.entries, dirTime{name, t})
	}
}

// apply sets the times. A directory that was replaced by something else meanwhile is passed over.
func (d *dirTimes) apply(t *tree) {
	for _, e := range d.entries {
		fd, err := t.open(e.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			continue
		}
		_ = futimens(fd, []unix.Timespec{timespec(e.time), timespec(e.time)})
		unix.Close(fd)
	}
}
