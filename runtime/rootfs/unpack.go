package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Unpack writes the tar stream r into the existing directory dir. The stream is read to its end; what follows the end of the archive
// may only be zeros. After an error the directory holds a part of the layer and is to be thrown away.
func Unpack(r io.Reader, dir string, opts Options) (Result, error) {
	root, err := openTree(dir)
	if err != nil {
		return Result{}, err
	}
	defer root.close()
	u := &unpacker{tree: root, opts: opts, limits: opts.Limits.withDefaults(), buf: make([]byte, 256<<10)}
	if u.opts.Wrote == nil {
		u.opts.Wrote = func(int64) error { return nil }
	}
	if err := u.run(r); err != nil {
		return Result{}, err
	}
	return u.result, nil
}

type unpacker struct {
	tree     *tree
	opts     Options
	limits   Limits
	result   Result
	dirTimes dirTimes
	buf      []byte
	made     bool
}

func (u *unpacker) run(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return readError(err)
		}
		if u.result.Entries++; u.result.Entries > u.limits.Entries {
			return fmt.Errorf("%w: more than %d entries", ErrTooLarge, u.limits.Entries)
		}
		if err := u.opts.Wrote(0); err != nil {
			return err
		}
		if err := u.entry(hdr, tr); err != nil {
			return fmt.Errorf("cannot unpack %q: %w", shorten(hdr.Name), err)
		}
	}
	if err := onlyZeros(r, u.buf); err != nil {
		return err
	}
	u.dirTimes.apply(u.tree)
	u.result.Empty = !u.made
	return nil
}

// shorten keeps a hostile name from filling the log.
func shorten(name string) string {
	if len(name) > 256 {
		return name[:256] + "…"
	}
	return name
}

func readError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: cannot read tar header: %w", ErrMalformed, err)
	}
	return err
}

// onlyZeros reads the rest of the stream, so that its digest is that of the whole.
func onlyZeros(r io.Reader, buf []byte) error {
	for {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return fmt.Errorf("%w: data after the end of the archive", ErrMalformed)
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

func (u *unpacker) entry(hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(hdr.Name, u.limits.Depth)
	if err != nil {
		return err
	}
	what, err := classify(name)
	if err != nil || what == kindIgnored {
		return err
	}
	if name == "." {
		return u.rootEntry(hdr)
	}
	dir, base := splitName(name)
	if what == kindEntry && isRawWhiteout(hdr) {
		return nil
	}
	dirFD, err := u.tree.parent(dir)
	if err != nil {
		return err
	}
	u.made = true
	switch what {
	case kindOpaque:
		return u.opaque(dir, dirFD)
	case kindWhiteout:
		return whiteout(dirFD, base[len(whiteoutPrefix):])
	default:
		return u.object(hdr, content, place{name: name, dirFD: dirFD, base: base})
	}
}

// place is where an entry goes: a name in an open directory.
type place struct {
	name  string
	dirFD int
	base  string
}

func (u *unpacker) rootEntry(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: the root is not a directory", ErrMalformed)
	}
	if err := setDirMetadata(u.tree.root, hdr); err != nil {
		return err
	}
	u.dirTimes.add(".", modTime(hdr))
	return nil
}

// object makes what the entry describes, in place of whatever this layer had there before.
func (u *unpacker) object(hdr *tar.Header, content io.Reader, at place) error {
	if hdr.Typeflag == tar.TypeDir {
		return u.directory(hdr, at)
	}
	if hdr.Typeflag == tar.TypeLink {
		return u.hardlink(hdr, at)
	}
	if err := removeAt(at.dirFD, at.base); err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeRegA, tar.TypeCont, tar.TypeGNUSparse: //nolint:staticcheck // TypeRegA is what old tars hold
		return u.file(hdr, content, at)
	case tar.TypeSymlink:
		return u.symlink(hdr, at)
	case tar.TypeFifo:
		return makeNode(hdr, at, unix.S_IFIFO, 0)
	case tar.TypeChar, tar.TypeBlock:
		if !harmlessDevice(hdr) {
			return nil
		}
		return makeNode(hdr, at, unix.S_IFCHR, int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))))
	}
	return fmt.Errorf("%w: entry of unknown type %q", ErrMalformed, hdr.Typeflag)
}

// directory makes a directory, or keeps the one that is there. In place of a whiteout it hides what the whiteout hid.
func (u *unpacker) directory(hdr *tar.Header, at place) error {
	hides := false
	err := unix.Mkdirat(at.dirFD, at.base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err = unix.Fstatat(at.dirFD, at.base, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			hides = isWhiteout(st)
			if err = removeAt(at.dirFD, at.base); err == nil {
				err = unix.Mkdirat(at.dirFD, at.base, 0o700)
			}
		}
	}
	if err != nil {
		return err
	}
	fd, err := unix.Openat(at.dirFD, at.base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if hides {
		if err := setOpaque(fd); err != nil {
			return err
		}
	}
	u.dirTimes.add(at.name, modTime(hdr))
	return setDirMetadata(fd, hdr)
}

func (u *unpacker) symlink(hdr *tar.Header, at place) error {
	if hdr.Linkname == "" || len(hdr.Linkname) > maxName {
		return fmt.Errorf("%w: a symlink to a name of %d bytes", ErrMalformed, len(hdr.Linkname))
	}
	if err := unix.Symlinkat(hdr.Linkname, at.dirFD, at.base); err != nil {
		return err
	}
	return setLinkMetadata(at, hdr)
}

// hardlink links to a file that this layer brought. The target is looked up like every path: below the root, its last component not followed.
func (u *unpacker) hardlink(hdr *tar.Header, at place) error {
	target, err := cleanName(hdr.Linkname, u.limits.Depth)
	if err != nil {
		return err
	}
	if target == at.name {
		return nil
	}
	dir, base := splitName(target)
	from, err := u.tree.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%w: cannot find the target %q of a hard link: %w", ErrMalformed, shorten(target), err)
	}
	defer unix.Close(from)
	var st unix.Stat_t
	if err := unix.Fstatat(from, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%w: cannot find the target %q of a hard link: %w", ErrMalformed, shorten(target), err)
	}
	if mode := st.Mode & unix.S_IFMT; mode == unix.S_IFDIR || isWhiteout(st) {
		return fmt.Errorf("%w: a hard link to %q, which is no file of this layer", ErrMalformed, shorten(target))
	}
	if err := removeAt(at.dirFD, at.base); err != nil {
		return err
	}
	return unix.Linkat(from, base, at.dirFD, at.base, 0)
}

// modTime keeps times that a file system can hold; a zero time is the epoch, as tar means it.
func modTime(hdr *tar.Header) time.Time {
	if hdr.ModTime.Unix() < 0 {
		return time.Unix(0, 0)
	}
	return hdr.ModTime
}
