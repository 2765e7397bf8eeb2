package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

// Disks is a directory of volumes that outlive pods. Each says itself what it is for, so that it is found again when nobody remembers it:
//
//	DIR/ID/label   the label
//	DIR/ID/data    what pods see; not there for labels alone
//	DIR/.*         being made or being removed: after a crash nothing but rubbish
type Disks string

const (
	diskLabel  = "label"
	diskData   = "data"
	diskHidden = "."
)

// diskPattern keeps IDs inside the directory, and apart from hidden names.
var diskPattern = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)

// Make makes a volume, or replaces the label of one that exists. What it returns from is on the disk.
func (d Disks) Make(v runtime.StoredVolume) error {
	if err := d.make(v); err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = fmt.Errorf("%w: %w", runtime.ErrDiskFull, err)
		}
		return fmt.Errorf("cannot make volume %q: %w", v.ID, err)
	}
	return nil
}

func (d Disks) make(v runtime.StoredVolume) error {
	path, err := d.path(v.ID)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return writeLabel(path, v.Label)
	}
	temp, err := os.MkdirTemp(string(d), diskHidden+"new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }() // it is gone when all went well
	if err := makeData(temp, v.NoData); err != nil {
		return err
	}
	if err := writeLabel(temp, v.Label); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return errors.Join(sys.SyncDir(string(d)), sys.SyncDir(filepath.Dir(string(d))))
}

func makeData(dir string, none bool) error {
	if none {
		return nil
	}
	data := filepath.Join(dir, diskData)
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	return os.Chmod(data, 0o777) // whatever the umask: any user of any image may write
}

// writeLabel replaces the label in a directory: after a power cut the old or the new one is there.
func writeLabel(dir string, label []byte) error {
	f, err := os.CreateTemp(dir, diskLabel+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(label)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, diskLabel))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return sys.SyncDir(dir)
}

// List returns all volumes, sorted by ID. A label that cannot be read is empty.
func (d Disks) List() ([]runtime.StoredVolume, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list volumes: %w", err)
	}
	var list []runtime.StoredVolume
	for _, e := range entries {
		path, err := d.path(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		label, err := os.ReadFile(filepath.Join(path, diskLabel))
		if err != nil {
			label = nil
		}
		_, err = os.Lstat(filepath.Join(path, diskData))
		list = append(list, runtime.StoredVolume{ID: e.Name(), Label: label, NoData: errors.Is(err, fs.ErrNotExist)})
	}
	slices.SortFunc(list, func(a, b runtime.StoredVolume) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Open opens what pods see of a volume. One that is not there is runtime.ErrNotFound: it is never made by being used.
func (d Disks) Open(id string) (*sys.FD, error) {
	path, err := d.path(id)
	if err == nil {
		var fd *sys.FD
		if fd, err = sys.OpenDir(filepath.Join(path, diskData)); err == nil {
			return fd, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("its directory %s is gone: %w", path, runtime.ErrNotFound)
	}
	return nil, fmt.Errorf("cannot open volume %q: %w", id, err)
}

// Remove deletes a volume with its data. It disappears as a whole first: half a volume is never found.
func (d Disks) Remove(id string) error {
	if err := d.remove(id); err != nil {
		return fmt.Errorf("cannot remove volume %q: %w", id, err)
	}
	return nil
}

func (d Disks) remove(id string) error {
	path, err := d.path(id)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(string(d), diskHidden+"gone-")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = os.Rename(path, filepath.Join(temp, diskData))
	if err == nil {
		err = sys.SyncDir(string(d))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(temp))
}

// Sweep removes what a crash has left half made or half removed.
func (d Disks) Sweep() error {
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot sweep volumes: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), diskHidden) {
			errs = append(errs, os.RemoveAll(filepath.Join(string(d), e.Name())))
		}
	}
	return errors.Join(errs...)
}

func (d Disks) path(id string) (string, error) {
	if !diskPattern.MatchString(id) {
		return "", fmt.Errorf("%q is no name of a volume", id)
	}
	return filepath.Join(string(d), id), nil
}
