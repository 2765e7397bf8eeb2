package security

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one path may have, as in the kernel.
const maxLinks = 40

// layerSet finds files in the layers of an image as overlayfs would show them, without mounting: upper layers hide lower ones, whiteouts hide
// what is below, opaque directories hide the rest of themselves. It goes from directory to directory by descriptors and follows symbolic
// links itself, so nothing in an image leads out of it.
type layerSet struct {
	root merged
	fds  []int
}

// merged is one directory as the overlay shows it: the directories it is made of, topmost first.
type merged []int

// openLayers opens an image's layers, given lowest first, down to one that hides those below.
func openLayers(dirs []string) (*layerSet, error) {
	l := &layerSet{}
	for _, dir := range slices.Backward(dirs) {
		opaque, err := l.addDir(&l.root, unix.AT_FDCWD, dir)
		if err != nil {
			l.close()
			return nil, &os.PathError{Op: "open", Path: dir, Err: err}
		}
		if opaque {
			break
		}
	}
	return l, nil
}

func (l *layerSet) close() {
	for _, fd := range l.fds {
		_ = unix.Close(fd)
	}
	l.fds = nil
}

// open opens a file for reading. It may be of any kind; opening never blocks.
func (l *layerSet) open(path string) (*os.File, error) {
	var parents []merged
	here := l.root
	rest := strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if n := len(parents); n > 0 {
				here, parents = parents[n-1], parents[:n-1]
			}
			continue
		}
		found, err := l.lookup(here, name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case found.dirs != nil:
			parents = append(parents, here)
			here = found.dirs
		case found.link != "":
			if links++; links > maxLinks {
				return nil, fmt.Errorf("%s: %w", path, unix.ELOOP)
			}
			if filepath.IsAbs(found.link) {
				here, parents = l.root, nil
			}
			rest = append(strings.Split(found.link, "/"), rest...)
		case len(rest) > 0:
			return nil, fmt.Errorf("%s: %w", path, unix.ENOTDIR)
		default:
			fd, err := unix.Openat(found.parent, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			return os.NewFile(uintptr(fd), path), nil
		}
	}
	return nil, fmt.Errorf("%s: %w", path, unix.EISDIR)
}

// entry is what a name in a directory is: a directory, a symbolic link, or something else in parent.
type entry struct {
	dirs   merged
	link   string
	parent int
}

func (l *layerSet) lookup(dir merged, name string) (entry, error) {
	var found entry
	for _, parent := range dir {
		var st unix.Stat_t
		err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return entry{}, err
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			opaque, err := l.addDir(&found.dirs, parent, name)
			if err != nil || opaque {
				return found, err
			}
		case found.dirs != nil:
			return found, nil // a directory above hides whatever else is below
		case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
			return entry{}, unix.ENOENT // a whiteout
		case st.Mode&unix.S_IFMT == unix.S_IFLNK:
			buf := make([]byte, unix.PathMax)
			n, err := unix.Readlinkat(parent, name, buf)
			if err == nil && n == 0 {
				err = unix.ENOENT
			}
			return entry{link: string(buf[:max(n, 0)])}, err
		default:
			return entry{parent: parent}, nil
		}
	}
	if found.dirs == nil {
		return entry{}, unix.ENOENT
	}
	return found, nil
}

// addDir opens a directory of one layer and says whether it hides the layers below.
func (l *layerSet) addDir(dirs *merged, parent int, name string) (opaque bool, err error) {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	l.fds = append(l.fds, fd)
	*dirs = append(*dirs, fd)
	value := make([]byte, 8)
	n, err := unix.Fgetxattr(fd, "trusted.overlay.opaque", value)
	return err == nil && string(value[:n]) == "y", nil
}
