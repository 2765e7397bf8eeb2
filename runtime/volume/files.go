package volume

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"berth/runtime"
)

// The names inside a directory of files. What a container opens is a link to dataLink's target, so that all files change at one rename:
//
//	key      -> ..data/key
//	..data   -> ..3f9a…
//	..3f9a…/key
const (
	dataLink = "..data"
	tempName = "..new"
)

// maxName is the longest file name the kernel takes.
const maxName = 255

// WriteFiles makes dir hold exactly these files, all at once for whoever reads. Doing it again with the same files changes nothing.
// dir must be berth's own, and never writable from inside a pod.
func WriteFiles(dir string, entries []runtime.File, owner Owner) error {
	for _, e := range entries {
		if err := checkName(e.Path); err != nil {
			return err
		}
	}
	if err := writeFiles(dir, entries, owner); err != nil {
		return fmt.Errorf("cannot write files of volume: %w", err)
	}
	return nil
}

func writeFiles(dir string, entries []runtime.File, owner Owner) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
		return err
	}
	version := ".." + digest(entries, owner)
	if now, err := os.Readlink(filepath.Join(dir, dataLink)); err == nil && now == version {
		return nil
	}
	if err := writeVersion(dir, version, entries, owner); err != nil {
		return err
	}
	if err := replaceLink(dir, version, dataLink); err != nil {
		return err
	}
	if err := linkKeys(dir, entries); err != nil {
		return err
	}
	return sweep(dir, version, entries)
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
	if err := mkdirMode(temp); err != nil {
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
			if err := mkdirMode(at); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	mode := fs.FileMode(e.Mode) & 0o777
	if owner.FSGroup != nil {
		mode |= 0o440
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

// mkdirMode makes a directory that everybody may read, whatever the umask.
func mkdirMode(name string) error {
	if err := os.Mkdir(name, 0o755); err != nil {
		return err
	}
	return os.Chmod(name, 0o755)
}

func linkKeys(dir string, entries []runtime.File) error {
	for name := range topLevel(entries) {
		if now, err := os.Readlink(filepath.Join(dir, name)); err == nil && now == dataLink+"/"+name {
			continue
		}
		if err := replaceLink(dir, dataLink+"/"+name, name); err != nil {
			return err
		}
	}
	return nil
}

func replaceLink(dir, target, name string) error {
	temp := filepath.Join(dir, tempName)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, name))
}

// sweep removes the links and versions that are no longer meant.
func sweep(dir, version string, entries []runtime.File) error {
	keep := topLevel(entries)
	keep[dataLink], keep[version] = true, true
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range found {
		if !keep[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func topLevel(entries []runtime.File) map[string]bool {
	names := make(map[string]bool, len(entries)+2)
	for _, e := range entries {
		first, _, _ := strings.Cut(e.Path, "/")
		names[first] = true
	}
	return names
}

// checkName refuses a path that could leave the directory or meet the names the directory needs itself.
func checkName(p string) error {
	bad := p == "" || path.IsAbs(p) || path.Clean(p) != p || strings.ContainsRune(p, 0)
	for part := range strings.SplitSeq(p, "/") {
		bad = bad || part == "." || strings.HasPrefix(part, "..") || len(part) > maxName
	}
	if bad {
		return fmt.Errorf("cannot use %q as the path of a file in a volume", p)
	}
	return nil
}

// digest names the content: every byte, mode and owner of it.
func digest(entries []runtime.File, owner Owner) string {
	sorted := append([]runtime.File(nil), entries...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Path < sorted[j].Path })
	h := sha256.New()
	number := func(n uint64) { h.Write(binary.LittleEndian.AppendUint64(nil, n)) }
	number(uint64(owner.Root))
	number(uint64(owner.Group()))
	for _, e := range sorted {
		number(uint64(len(e.Path)))
		h.Write([]byte(e.Path))
		number(uint64(len(e.Data)))
		h.Write(e.Data)
		number(uint64(e.Mode))
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}
