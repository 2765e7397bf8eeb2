package volume

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

func TestOpenHostPath(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "berth"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "berth-data"), 0o700))
	must(t, os.Symlink("berth", filepath.Join(dir, "link")))
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must(t, err)
	defer func() { _ = l.Close() }()
	tests := map[string]struct {
		path, kind string
		ok         bool
		made       fs.FileMode
	}{
		"file":                      {"file", "File", true, 0},
		"directory":                 {"dir", "Directory", true, 0},
		"socket":                    {"socket", "Socket", true, 0},
		"anything":                  {"file", "", true, 0},
		"device":                    {"/dev/null", "CharDevice", true, 0},
		"file for a directory":      {"file", "Directory", false, 0},
		"directory for a file":      {"dir", "File", false, 0},
		"file for a socket":         {"file", "Socket", false, 0},
		"file for a block device":   {"file", "BlockDevice", false, 0},
		"character for a block":     {"/dev/null", "BlockDevice", false, 0},
		"missing file":              {"none", "File", false, 0},
		"missing directory":         {"none", "Directory", false, 0},
		"file is made":              {"new-file", "FileOrCreate", true, 0o644},
		"directory is made":         {"new/dir", "DirectoryOrCreate", true, fs.ModeDir | 0o755},
		"missing without a type":    {"untyped", "", true, fs.ModeDir | 0o755},
		"file below nothing":        {"missing/file", "FileOrCreate", false, 0},
		"unknown type":              {"dir", "Folder", false, 0},
		"relative":                  {"./dir", "relative", false, 0},
		"berth's own":               {"berth", "", false, 0},
		"berth's own by a link":     {"link", "", false, 0},
		"below berth's own":         {"berth/x", "", false, 0},
		"below, through a link":     {"link/x/y", "DirectoryOrCreate", false, 0},
		"a neighbour's longer name": {"berth-data", "Directory", true, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := tt.path
			if !filepath.IsAbs(path) && !strings.HasPrefix(path, ".") {
				path = filepath.Join(dir, path)
			}
			fd, err := OpenHostPath(runtime.HostPath{Path: path, Type: tt.kind}, []string{filepath.Join(dir, "berth")})
			if (err == nil) != tt.ok {
				t.Fatalf("OpenHostPath = %v, want success: %t", err, tt.ok)
			}
			if err != nil {
				return
			}
			_ = fd.Close()
			if info, err := os.Stat(path); tt.made != 0 && (err != nil || info.Mode() != tt.made) {
				t.Errorf("made %v, %v, want %v", info.Mode(), err, tt.made)
			}
		})
	}
	if left, err := os.ReadDir(filepath.Join(dir, "berth")); err != nil || len(left) > 0 {
		t.Errorf("something was made in berth's own directory: %v, %v", left, err)
	}
}

func TestEmptyDirAndSubPath(t *testing.T) {
	root(t)
	dir, outside := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "vol")
	group := int64(2000)
	owner := Owner{Root: 65536, FSGroup: &group}
	for range 2 {
		must(t, MakeEmptyDir(path, owner))
	}
	must(t, os.Symlink(outside, filepath.Join(path, "link")))
	vol, err := sys.OpenDir(path)
	must(t, err)
	defer func() { _ = vol.Close() }()
	fd, err := OpenSubPath(vol, "a/b", true)
	must(t, err)
	_ = fd.Close()
	for _, p := range []string{path, path + "/a", path + "/a/b"} {
		var st unix.Stat_t
		must(t, unix.Lstat(p, &st))
		if st.Mode&0o7777 != 0o2777 || st.Uid != 65536 || st.Gid != 67536 {
			t.Errorf("%s is %o, %d:%d", p, st.Mode, st.Uid, st.Gid)
		}
	}
	for _, sub := range []string{"link/x", "../x", "a/../../x"} {
		if fd, err := OpenSubPath(vol, sub, true); err == nil {
			at, _ := fd.Path()
			_ = fd.Close()
			if !strings.HasPrefix(at, path) {
				t.Errorf("subPath %q led to %s", sub, at)
			}
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside there is %v, %v", left, err)
	}
	if _, err := OpenSubPath(vol, "none", false); err == nil {
		t.Error("a missing part of a read-only volume was opened")
	}
}

func TestTree(t *testing.T) {
	root(t)
	fd, err := sys.OpenDir(t.TempDir())
	must(t, err)
	defer func() { _ = fd.Close() }()
	tree, err := Tree(fd, TreeOptions{ReadOnly: true, NoSUID: true, NoDev: true, NoExec: true, Recursive: true})
	must(t, err)
	defer func() { _ = tree.Close() }()
	var st unix.Statfs_t
	must(t, unix.Fstatfs(tree.Int(), &st))
	const want = unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC
	if st.Flags&want != want {
		t.Errorf("flags %#x, want %#x", st.Flags, want)
	}
}

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: cannot give files away or make mounts")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
