package dir

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"berth/manifests"
)

// deed is a change of a file that is ready to be done by one rename, or by one removal.
type deed struct {
	name, at string
	old, now []byte // nil: no file
	temp     string // has the new content
}

// stage puts the new content on the disk, beside the file that it shall replace: a crash leaves one or the other, whole. Where a file is to be
// removed it is found out whether anything can be.
func (d *deed) stage(root string) (err error) {
	dir := filepath.Dir(d.at)
	owner, err := ownerOf(root, d.at)
	if err != nil {
		return err
	}
	if err := makeFolder(dir, owner); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, temporary) // not after the file: its name may be as long as names can be
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if d.temp = f.Name(); d.now == nil {
		return nil
	}
	mode := fs.FileMode(0o644)
	if holdsSecret(d.name, d.now) {
		mode = 0o600
	}
	if info, err := os.Stat(d.at); err == nil {
		mode = info.Mode().Perm()
	}
	if _, err := f.Write(d.now); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := owner.give(f); err != nil {
		return err
	}
	return f.Sync()
}

// drop removes what was not needed.
func (d *deed) drop() {
	if d.temp != "" {
		_ = os.Remove(d.temp)
	}
}

func (d *deed) do() error {
	if d.now == nil {
		if err := os.Remove(d.at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	} else {
		if err := os.Rename(d.temp, d.at); err != nil {
			return err
		}
		d.temp = ""
	}
	syncFolder(filepath.Dir(d.at))
	return nil
}

// holdsSecret tells whether a file states Secrets: a new one is for its owner alone.
func holdsSecret(name string, data []byte) bool {
	return slices.ContainsFunc(manifests.Decode(name, data).Objects, func(o manifests.Object) bool { return o.Key.Kind == "Secret" })
}

// unchanged tells whether a file is as it was read.
func unchanged(at string, old []byte) error {
	data, st := readFile(at)
	switch {
	case errors.Is(st.err, fs.ErrNotExist) && old == nil:
		return nil
	case st.err != nil, st.busy, old == nil, !bytes.Equal(data, old):
		return manifests.ErrConflict
	}
	return nil
}

// owner is whom a file belongs to.
type owner struct{ uid, gid int }

// ownerOf is the owner of a file, or of the directory where there is none yet: who may edit one shall be able to edit the other.
func ownerOf(root, at string) (owner, error) {
	info, err := os.Stat(at)
	if err != nil {
		info, err = os.Stat(root)
	}
	if err != nil {
		return owner{}, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return owner{int(st.Uid), int(st.Gid)}, nil
	}
	return owner{os.Geteuid(), os.Getegid()}, nil
}

func (o owner) give(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == o.uid && int(st.Gid) == o.gid {
		return nil
	}
	return f.Chown(o.uid, o.gid)
}

func makeFolder(dir string, o owner) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	syncFolder(filepath.Dir(dir))
	if o.uid == os.Geteuid() {
		return nil
	}
	return os.Chown(dir, o.uid, o.gid)
}

// syncFolder makes a new name outlive a power cut. What cannot be synced is written nevertheless.
func syncFolder(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		_ = f.Close()
	}
}
