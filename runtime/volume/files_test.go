package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

func self() Owner { return Owner{Root: uint32(os.Getuid())} }

// read returns what whoever lists the directory finds, by path.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), reserved) {
			continue
		}
		root := filepath.Join(dir, e.Name())
		root, err := filepath.EvalSymlinks(root)
		must(t, err)
		must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				var data []byte
				data, err = os.ReadFile(path)
				got[filepath.Join(e.Name(), strings.TrimPrefix(path, root))] = string(data)
			}
			return err
		}))
	}
	return got
}

func TestWriteFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vol")
	must(t, WriteFiles(dir, runtime.Files{Hash: "1", Entries: []runtime.File{
		{Path: "a", Data: []byte("1"), Mode: 0o644}, {Path: "gone", Mode: 0o644}, {Path: "sub/b", Data: []byte("2"), Mode: 0o600}, {Path: "sub/..c", Mode: 0o644},
	}}, self()))
	if diff := cmp.Diff(map[string]string{"a": "1", "gone": "", "sub/b": "2", "sub/..c": ""}, read(t, dir)); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	must(t, MakeMountPoint(dir, "other/volume", self()))
	if err := MakeMountPoint(dir, "a/volume", self()); err == nil {
		t.Error("a file became a mount point")
	}
	held, err := os.Open(filepath.Join(dir, "a"))
	must(t, err)
	defer func() { _ = held.Close() }()
	next := runtime.Files{Hash: "2", Entries: []runtime.File{{Path: "a", Data: []byte("3"), Mode: 0o644}, {Path: "new", Data: []byte("4"), Mode: 0o640}}}
	want := map[string]string{"a": "3", "new": "4"}
	must(t, WriteFiles(dir, next, self()))
	before, err := os.Stat(filepath.Join(dir, "a"))
	must(t, err)
	must(t, WriteFiles(dir, next, self()))
	must(t, WriteFiles(dir, runtime.Files{Hash: "2"}, self())) // the hash says that there is nothing to do
	if err := WriteFiles(dir, runtime.Files{Hash: "3"}, self()); err == nil {
		t.Error("files were replaced by ones that nobody knows")
	}
	if diff := cmp.Diff(want, read(t, dir)); diff != "" {
		t.Errorf("second (-want +got):\n%s", diff)
	}
	if after, err := os.Stat(filepath.Join(dir, "a")); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same files were written again (%v)", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 5 {
		t.Errorf("the directory holds %v", entries)
	}
	if info, err := os.Stat(filepath.Join(dir, "new")); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "other/volume")); err != nil || !info.IsDir() {
		t.Errorf("the mount point is %v, %v", info, err)
	}
}

// A crash at any point of an update leaves either version whole, and the next write goes through.
func TestWriteFilesAfterCrash(t *testing.T) {
	file := func(path, text string) runtime.File { return runtime.File{Path: path, Data: []byte(text), Mode: 0o644} }
	next := runtime.Files{Hash: "2", Entries: []runtime.File{file("a", "2"), file("b", "2")}}
	for name, crash := range map[string]func(dir string) error{
		"half a version":           func(dir string) error { return os.MkdirAll(filepath.Join(dir, tempName, "x"), 0o755) },
		"a version without a link": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "..2", "half"), 0o755) },
		"half a link":              func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, tempName)) },
		"the version without names": func(dir string) error {
			if err := writeVersion(dir, "..2", next.Entries, self()); err != nil {
				return err
			}
			return replaceLink(dir, "..2", dataLink)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "vol")
			must(t, WriteFiles(dir, runtime.Files{Hash: "1", Entries: []runtime.File{file("a", "1"), file("old", "1")}}, self()))
			must(t, crash(dir))
			must(t, WriteFiles(dir, next, self()))
			if diff := cmp.Diff(map[string]string{"a": "2", "b": "2"}, read(t, dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 4 {
				t.Errorf("the directory holds %v", entries)
			}
		})
	}
}

func TestWriteFilesOwner(t *testing.T) {
	root(t)
	dir := filepath.Join(t.TempDir(), "vol")
	group := int64(2000)
	must(t, WriteFiles(dir, runtime.Files{Hash: "1", Entries: []runtime.File{{Path: "a", Mode: 0o400}, {Path: "d/b", Mode: 0o644}}}, Owner{Root: 65536, FSGroup: &group}))
	for path, mode := range map[string]fs.FileMode{
		"": fs.ModeDir | fs.ModeSetgid | 0o755, dataLink + "/": fs.ModeDir | fs.ModeSetgid | 0o755, "d": fs.ModeDir | fs.ModeSetgid | 0o755,
		"a": 0o440, "d/b": 0o644,
	} {
		info, err := os.Stat(dir + "/" + path)
		must(t, err)
		st, _ := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode || st.Uid != 65536 || st.Gid != 67536 {
			t.Errorf("%q is %v, %d:%d, want %v", path, info.Mode(), st.Uid, st.Gid, mode)
		}
	}
}

func TestWriteFilesRefuses(t *testing.T) {
	refused := func(what string, files runtime.Files) {
		dir := filepath.Join(t.TempDir(), "vol")
		if err := WriteFiles(dir, files, Owner{}); err == nil {
			t.Errorf("%s was accepted", what)
		}
		if _, err := os.Lstat(dir); err == nil {
			t.Errorf("%s: something was written", what)
		}
	}
	for _, path := range []string{"", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "..", "..data", "..new", "a\x00b", strings.Repeat("a", 256)} {
		refused("path "+path, runtime.Files{Hash: "1", Entries: []runtime.File{{Path: path}}})
	}
	for _, hash := range []string{"", "data", "../x", "a/b", strings.Repeat("a", 65)} {
		refused("hash "+hash, runtime.Files{Hash: hash})
	}
}
