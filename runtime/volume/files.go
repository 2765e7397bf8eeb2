package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"berth/runtime"
)

// The names inside a directory of files. What a container opens is a link to dataLink's target, so that all files change at one rename:
//
//	key      -> ..data/key
//	..data   -> ..3f9a…
//	..3f9a…/key
//
// Directories beside them are mount points of other volumes and stay.
const (
	dataLink = "..data"
	tempName = "..new"
	reserved = ".."
)

// maxName is the longest file name the kernel takes.
const maxName = 255

// WriteFiles makes dir hold exactly these files, all at once for whoever reads. A directory that holds files of the same hash is left as it
// is. dir must be berth's own, and never writable from inside a pod.
func WriteFiles(dir string, files runtime.Files, owner Owner) error {
	if err := writeFiles(dir, files, owner); err != nil {
		return fmt.Errorf("cannot write files of volume %s: %w", filepath.Base(dir), err)
	}
	return nil
}

func writeFiles(dir string, files runtime.Files, owner Owner) error {
	if err := checkHash(files.Hash); err != nil {
		return err
	}
	for _, e := range files.Entries {
		if err := checkName(e.Path); err != nil {
			return err
		}
	}
	if err := owner.makeDir(dir); err != nil {
		return err
	}
	version := reserved + files.Hash
	if now, err := os.Readlink(filepath.Join(dir, dataLink)); err != nil || now != version {
		if files.Entries == nil {
			return errors.New("their content is not known any more")
		}
		if err := writeVersion(dir, version, files.Entries, owner); err != nil {
			return err
		}
		if err := replaceLink(dir, version, dataLink); err != nil {
			return err
		}
	}
	keys, err := linkKeys(dir, version)
	if err != nil {
		return err
	}
	return sweep(dir, version, keys)
}

// writeVersion writes all files into a directory with its final name only when it is complete.
func writeVersion(dir, version string, entries []runtime.File, owner Owner) error {
	temp := filepath.Join(dir, tempName)
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, version)); err != nil {
		return err
	}
	if err := owner.makeDir(temp); err != nil {
		return err
	}
	for _, e := range entries {
		if err := writeFile(temp, e, owner); err != nil {
			return err
		}
	}
	return os.Rename(temp, filepath.Join(dir, version))
}

func writeFile(root string, e runtime.File, owner Owner) error {
	at := root
	if sub := path.Dir(e.Path); sub != "." {
		for name := range strings.SplitSeq(sub, "/") {
			at = filepath.Join(at, name)
			if err := owner.makeDir(at); err != nil {
				return err
			}
		}
	}
	mode := fs.FileMode(e.Mode) & 0o777
	if owner.FSGroup != nil {
		mode |= 0o440 // as Kubernetes does for what is mounted read-only
	}
	name := filepath.Join(root, e.Path)
	if err := os.WriteFile(name, e.Data, 0o600); err != nil {
		return err
	}
	if err := os.Chown(name, int(owner.Root), int(owner.Group())); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

// makeDir makes a directory that everybody may read, whatever the umask. With an fsGroup it is the group's. One that exists is no error.
func (o Owner) makeDir(name string) error {
	if err := os.Mkdir(name, 0o755); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	mode := fs.FileMode(0o755)
	if o.FSGroup != nil {
		mode |= fs.ModeSetgid
	}
	if err := os.Chown(name, int(o.Root), int(o.Group())); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

// linkKeys makes a link for each name in the version and returns the names. The version is on disk: a crash may have come between the two.
func linkKeys(dir, version string) (map[string]bool, error) {
	entries, err := os.ReadDir(filepath.Join(dir, version))
	if err != nil {
		return nil, err
	}
	keys := make(map[string]bool, len(entries))
	for _, e := range entries {
		name := e.Name()
		keys[name] = true
		if now, err := os.Readlink(filepath.Join(dir, name)); err == nil && now == dataLink+"/"+name {
			continue
		}
		if err := replaceLink(dir, dataLink+"/"+name, name); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func replaceLink(dir, target, name string) error {
	temp := filepath.Join(dir, tempName)
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, name))
}

// sweep removes the links and versions that are no longer meant.
func sweep(dir, version string, keys map[string]bool) error {
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range found {
		name := e.Name()
		ours := strings.HasPrefix(name, reserved) || e.Type()&fs.ModeSymlink != 0
		if !ours || keys[name] || name == version || name == dataLink {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// MakeMountPoint makes a directory inside a directory of files, for another volume to be mounted on. A file that is in the way is an error.
func MakeMountPoint(dir, sub string, owner Owner) error {
	if err := checkName(sub); err != nil {
		return err
	}
	at := dir
	for name := range strings.SplitSeq(sub, "/") {
		at = filepath.Join(at, name)
		if err := owner.makeDir(at); err != nil {
			return fmt.Errorf("cannot make mount point %s: %w", sub, err)
		}
		if info, err := os.Lstat(at); err != nil || !info.IsDir() {
			return fmt.Errorf("cannot make mount point %s: the volume has a file there", sub)
		}
	}
	return nil
}

// checkName refuses a path that could leave the directory or meet the names the directory needs itself.
func checkName(p string) error {
	bad := p == "" || path.IsAbs(p) || path.Clean(p) != p || strings.HasPrefix(p, reserved) || strings.ContainsRune(p, 0)
	for part := range strings.SplitSeq(p, "/") {
		bad = bad || part == "." || part == ".." || len(part) > maxName
	}
	if bad {
		return fmt.Errorf("cannot use %q as the path of a file in a volume", p)
	}
	return nil
}

// checkHash makes sure that a hash can be the name of a version, and of nothing else.
func checkHash(hash string) error {
	if hash == "" || len(hash) > 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		return fmt.Errorf("cannot use %q as the hash of a volume's files", hash)
	}
	return nil
}
