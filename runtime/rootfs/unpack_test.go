package rootfs

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root: layers are unpacked with their owners, devices and trusted attributes")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stamp is the time of every entry that states none of its own.
var stamp = time.Unix(1_700_000_000, 0)

func dir(name string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755, ModTime: stamp}
}

func file(name, content string) *tar.Header {
	// Gname carries the content to makeTar, which clears it.
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), Gname: content, ModTime: stamp}
}

func symlink(name, target string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777, ModTime: stamp}
}

func hardlink(name, target string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o6777, ModTime: stamp}
}

func device(name string, kind byte, major, minor int64) *tar.Header {
	return &tar.Header{Name: name, Typeflag: kind, Devmajor: major, Devminor: minor, Mode: 0o666, ModTime: stamp}
}

func with(h *tar.Header, change func(*tar.Header)) *tar.Header {
	change(h)
	return h
}

func xattr(h *tar.Header, pairs ...string) *tar.Header {
	h.PAXRecords = map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		h.PAXRecords[xattrRecord+pairs[i]] = pairs[i+1]
	}
	return h
}

func makeTar(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range headers {
		h := *h
		content := h.Gname
		h.Gname = ""
		must(t, tw.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(tw, content)
			must(t, err)
		}
	}
	must(t, tw.Close())
	return buf.Bytes()
}

// describe returns what a directory holds, one line per entry.
func describe(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%04o %d:%d", st.Mode&0o7777, st.Uid, st.Gid)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			line = "dir " + line
			value := make([]byte, 8)
			if n, err := unix.Lgetxattr(path, opaqueXattr, value); err == nil {
				line += " opaque=" + string(value[:n])
			}
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line = fmt.Sprintf("file %s %q", line, data)
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line = "link " + target
		case unix.S_IFCHR:
			line = fmt.Sprintf("char %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case unix.S_IFIFO:
			line = "fifo " + line
		default:
			line = fmt.Sprintf("mode %o", st.Mode)
		}
		out[rel] = line
		return nil
	}))
	return out
}

func lines(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s: %s\n", k, m[k])
	}
	return b.String()
}

func TestUnpack(t *testing.T) {
	needRoot(t)
	tests := map[string]struct {
		in   []*tar.Header
		want map[string]string
	}{
		"files and directories": {
			[]*tar.Header{dir("etc/"), file("etc/passwd", "root"), dir("tmp"), with(dir("tmp"), func(h *tar.Header) { h.Mode = 0o1777 })},
			map[string]string{"etc": "dir 0755 0:0", "etc/passwd": `file 0644 0:0 "root"`, "tmp": "dir 1777 0:0"},
		},
		"owners and setuid": {
			[]*tar.Header{with(file("su", "x"), func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o6755, 5, 4_000_000_000 })},
			map[string]string{"su": `file 6755 5:4000000000 "x"`},
		},
		"missing parents": {[]*tar.Header{file("a/b/c", "x")}, map[string]string{"a": "dir 0755 0:0", "a/b": "dir 0755 0:0", "a/b/c": `file 0644 0:0 "x"`}},
		"links": {
			[]*tar.Header{file("a", "x"), hardlink("b", "a"), symlink("c", "/etc/passwd"), hardlink("d", "c"), hardlink("e", "/a")},
			map[string]string{"a": `file 0644 0:0 "x"`, "b": `file 0644 0:0 "x"`, "e": `file 0644 0:0 "x"`, "c": "link /etc/passwd", "d": "link /etc/passwd"},
		},
		"through a symlink of the layer": {
			[]*tar.Header{dir("usr"), dir("usr/lib"), symlink("lib", "usr/lib"), file("lib/x", "1"), symlink("abs", "/usr/lib"), file("abs/y", "2")},
			map[string]string{
				"usr": "dir 0755 0:0", "usr/lib": "dir 0755 0:0", "lib": "link usr/lib", "abs": "link /usr/lib",
				"usr/lib/x": `file 0644 0:0 "1"`, "usr/lib/y": `file 0644 0:0 "2"`,
			},
		},
		"the last of two wins": {
			[]*tar.Header{
				file("a", "old"), file("a", "new"), symlink("l", "/x"), file("l", "now a file"), dir("d"), file("d/in", "x"), file("d", "now a file"),
				file("f", "x"), dir("f"), file("f/in", "y"), symlink("s", "/x"), dir("s"),
			},
			map[string]string{"a": `file 0644 0:0 "new"`, "l": `file 0644 0:0 "now a file"`, "d": `file 0644 0:0 "now a file"`, "f": "dir 0755 0:0", "f/in": `file 0644 0:0 "y"`, "s": "dir 0755 0:0"},
		},
		"a directory twice keeps its files": {
			[]*tar.Header{dir("d"), file("d/in", "x"), with(dir("d"), func(h *tar.Header) { h.Mode = 0o700 })},
			map[string]string{"d": "dir 0700 0:0", "d/in": `file 0644 0:0 "x"`},
		},
		"a long name": {
			[]*tar.Header{file(strings.Repeat("long/", 40)+"f", "x")},
			func() map[string]string {
				m := map[string]string{strings.Repeat("long/", 40) + "f": `file 0644 0:0 "x"`}
				for i := 1; i <= 40; i++ {
					m[strings.TrimSuffix(strings.Repeat("long/", i), "/")] = "dir 0755 0:0"
				}
				return m
			}(),
		},
		"devices": {
			[]*tar.Header{device("null", tar.TypeChar, 1, 3), device("mem", tar.TypeChar, 1, 1), device("sda", tar.TypeBlock, 8, 0), device("raw", tar.TypeChar, 0, 0), device("fifo", tar.TypeFifo, 0, 0)},
			map[string]string{"null": "char 1:3", "fifo": "fifo 0666 0:0"},
		},
		"whiteouts": {
			[]*tar.Header{dir("a"), file("a/.wh.gone", ""), file(".wh.top", ""), dir("b"), file("b/.wh..wh..opq", ""), file(".wh..wh.plnk/1", "x"), file(".wh..wh.aufs", "x")},
			map[string]string{"a": "dir 0755 0:0", "a/gone": "char 0:0", "top": "char 0:0", "b": "dir 0755 0:0 opaque=y"},
		},
		"whiteout and what replaces it": {
			[]*tar.Header{file(".wh.f", ""), file("f", "new"), file(".wh.d", ""), dir("d"), file("d/x", "x"), file("g", "new"), file(".wh.g", ""), dir("e"), file(".wh.e", "")},
			map[string]string{"f": `file 0644 0:0 "new"`, "d": "dir 0755 0:0 opaque=y", "d/x": `file 0644 0:0 "x"`, "g": `file 0644 0:0 "new"`, "e": "dir 0755 0:0 opaque=y"},
		},
		"the root entry": {[]*tar.Header{dir("./"), file("./a", "x")}, map[string]string{"a": `file 0644 0:0 "x"`}},
		"unicode and odd names": {
			[]*tar.Header{file("ünï/\u202ex", "1"), file("-rf", "2"), file(" ", "3"), file("a\nb", "4")},
			map[string]string{"ünï": "dir 0755 0:0", "ünï/\u202ex": `file 0644 0:0 "1"`, "-rf": `file 0644 0:0 "2"`, " ": `file 0644 0:0 "3"`, "a\nb": `file 0644 0:0 "4"`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			_, err := Unpack(bytes.NewReader(makeTar(t, tt.in...)), root, Options{})
			must(t, err)
			if diff := cmp.Diff(lines(tt.want), lines(describe(t, root))); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnpackTimes(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	_, err := Unpack(bytes.NewReader(makeTar(t, dir("d"), file("d/f", "x"), symlink("d/l", "f"), with(file("old", ""), func(h *tar.Header) { h.ModTime = time.Unix(-5, 0) }))), root, Options{})
	must(t, err)
	for name, want := range map[string]time.Time{"d": stamp, "d/f": stamp, "d/l": stamp, "old": time.Unix(0, 0)} {
		info, err := os.Lstat(filepath.Join(root, name))
		must(t, err)
		if !info.ModTime().Equal(want) {
			t.Errorf("%s has the time %s, want %s", name, info.ModTime(), want)
		}
	}
}

func TestUnpackXattrs(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	capability := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	headers := []*tar.Header{
		xattr(file("ping", "x"), "security.capability", capability, "user.note", "hi", "user.overlay.opaque", "y", "trusted.overlay.redirect", "/etc", "security.selinux", "evil", "security.ima", "x"),
		xattr(dir("d"), "trusted.overlay.opaque", "y", "trusted.overlay.metacopy", "y", "user.note", "dir"),
		xattr(file("both", "x"), "trusted.overlay.redirect", "/canary"),
	}
	_, err := Unpack(bytes.NewReader(makeTar(t, headers...)), root, Options{})
	must(t, err)
	for name, want := range map[string][]string{"ping": {"security.capability", "user.note"}, "d": {"user.note"}, "both": nil} {
		buf := make([]byte, 4096)
		n, err := unix.Llistxattr(filepath.Join(root, name), buf)
		must(t, err)
		var got []string
		for a := range strings.SplitSeq(string(buf[:n]), "\x00") {
			if a != "" && a != "security.selinux" {
				got = append(got, a)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("attributes of %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestUnpackOpaqueRootAndEmpty(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		in   []*tar.Header
		want Result
	}{
		"nothing":           {nil, Result{Empty: true}},
		"only the root":     {[]*tar.Header{dir("./")}, Result{Empty: true, Entries: 1}},
		"only a whiteout":   {[]*tar.Header{file(".wh.x", "")}, Result{Entries: 1}},
		"an opaque root":    {[]*tar.Header{file(".wh..wh..opq", ""), file("a", "xyz")}, Result{Entries: 2, Bytes: 3, Opaque: true}},
		"dropped entries":   {[]*tar.Header{device("raw", tar.TypeChar, 0, 0)}, Result{Empty: true, Entries: 1}},
		"files are counted": {[]*tar.Header{file("a", "xyz"), hardlink("b", "a")}, Result{Entries: 2, Bytes: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Unpack(bytes.NewReader(makeTar(t, tt.in...)), t.TempDir(), Options{})
			must(t, err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// canary is a tree next to the root that no layer may touch.
type canary struct {
	path   string
	before string
}

func newCanary(t testing.TB, path string) canary {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(path, "dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(path, "secret"), []byte("secret"), 0o640))
	must(t, os.WriteFile(filepath.Join(path, "dir", "file"), []byte("file"), 0o644))
	must(t, os.Symlink("secret", filepath.Join(path, "link")))
	c := canary{path: path}
	c.before = c.print(t)
	return c
}

// print includes inode, change time and links, so that a chmod there and back, a replacement or a hard link is seen.
func (c canary) print(t testing.TB) string {
	t.Helper()
	out := lines(describe(t, c.path))
	must(t, filepath.WalkDir(c.path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Lstat(path, &st)
		out += fmt.Sprintln(path, st.Ino, st.Nlink, st.Ctim, st.Mtim)
		return err
	}))
	return out
}

func (c canary) check(t testing.TB) {
	t.Helper()
	if diff := cmp.Diff(c.before, c.print(t)); diff != "" {
		t.Errorf("something outside the root was touched (-before +after):\n%s", diff)
	}
}

// hostile are layers that try to get out. want is a part of the error, "" where the layer is made harmless instead.
func hostile(outside string) map[string]struct {
	in   []*tar.Header
	want string
} {
	up := strings.Repeat("../", 40)
	type row = struct {
		in   []*tar.Header
		want string
	}
	return map[string]row{
		"climbing name":                        {[]*tar.Header{file(up+outside+"/secret", "owned")}, ""},
		"absolute name":                        {[]*tar.Header{file(outside+"/secret", "owned")}, ""},
		"climbing in the middle":               {[]*tar.Header{file("a/../../../"+up+outside+"/secret", "owned")}, ""},
		"climbing with dots":                   {[]*tar.Header{file("./../"+up+outside+"/secret", "owned")}, ""},
		"only dots":                            {[]*tar.Header{file("../../..", "owned")}, "the root is not a directory"},
		"through an absolute symlink":          {[]*tar.Header{symlink("x", outside), file("x/secret", "owned")}, "is not a directory"},
		"through a symlink that is inside":     {[]*tar.Header{dir(outside), symlink("x", outside), file("x/secret", "owned")}, ""},
		"through a climbing symlink":           {[]*tar.Header{symlink("x", up+outside), file("x/secret", "owned")}, "is not a directory"},
		"through two symlinks":                 {[]*tar.Header{symlink("x", ".."), symlink("y", "x/"+up+outside), file("y/secret", "owned")}, "is not a directory"},
		"a loop":                               {[]*tar.Header{symlink("x", "y"), symlink("y", "x"), file("x/secret", "owned")}, "is not a directory"},
		"replacing a symlink's target":         {[]*tar.Header{symlink("secret", outside+"/secret"), file("secret", "owned")}, ""},
		"directory over a symlink":             {[]*tar.Header{symlink("d", outside+"/dir"), dir("d"), file("d/file", "owned")}, ""},
		"directory mode over a symlink":        {[]*tar.Header{symlink("d", outside+"/dir"), with(dir("d"), func(h *tar.Header) { h.Mode = 0o777 })}, ""},
		"/proc/self/root":                      {[]*tar.Header{symlink("p", "/proc/self/root"), file("p"+outside+"/secret", "owned")}, "is not a directory"},
		"/proc/self/cwd":                       {[]*tar.Header{symlink("p", "/proc/self/cwd"), file("p/owned", "owned")}, "is not a directory"},
		"hard link outside":                    {[]*tar.Header{hardlink("x", outside+"/secret")}, "cannot find the target"},
		"hard link, climbing":                  {[]*tar.Header{hardlink("x", up+outside+"/secret")}, "cannot find the target"},
		"hard link through a symlink":          {[]*tar.Header{symlink("d", outside), hardlink("x", "d/secret"), file("x", "owned")}, "cannot find the target"},
		"hard link to a symlink, then written": {[]*tar.Header{symlink("l", outside+"/secret"), hardlink("x", "l"), file("x", "owned")}, ""},
		"hard link mode on a symlink":          {[]*tar.Header{symlink("l", outside+"/secret"), hardlink("x", "l")}, ""},
		"hard link to a directory":             {[]*tar.Header{dir("d"), hardlink("x", "d")}, "no file of this layer"},
		"hard link to the root":                {[]*tar.Header{hardlink("x", "/")}, "hard link"},
		"hard link to a whiteout":              {[]*tar.Header{file(".wh.w", ""), hardlink("x", "w")}, "no file of this layer"},
		"hard link to itself":                  {[]*tar.Header{file("x", "1"), hardlink("x", "x")}, ""},
		"hard link before its target":          {[]*tar.Header{hardlink("x", "y"), file("y", "1")}, "cannot find the target"},
		"whiteout of the parent":               {[]*tar.Header{file(".wh...", "")}, "names nothing"},
		"whiteout of the directory":            {[]*tar.Header{file("a/.wh..", "")}, "names nothing"},
		"whiteout of nothing":                  {[]*tar.Header{file("a/.wh.", "")}, "names nothing"},
		"whiteout through a symlink":           {[]*tar.Header{symlink("x", outside), file("x/.wh.secret", "")}, "is not a directory"},
		"opaque through a symlink":             {[]*tar.Header{symlink("x", outside+"/dir"), file("x/.wh..wh..opq", "")}, "is not a directory"},
		"whiteout over a symlink":              {[]*tar.Header{symlink("x", outside+"/dir"), file(".wh.x", "")}, ""},
		"whiteout as a directory":              {[]*tar.Header{dir(".wh.d/"), file(".wh.d/x", "y")}, "used as a directory"},
		"symlink named as a whiteout":          {[]*tar.Header{symlink(".wh.x", outside)}, ""},
		"device through a symlink":             {[]*tar.Header{symlink("x", outside), device("x/null", tar.TypeChar, 1, 3)}, "is not a directory"},
		"device over a symlink":                {[]*tar.Header{symlink("x", outside+"/secret"), with(device("x", tar.TypeFifo, 0, 0), func(h *tar.Header) { h.Mode = 0o777 })}, ""},
		"the root as a symlink":                {[]*tar.Header{symlink(".", outside)}, "the root is not a directory"},
		"the root as a file":                   {[]*tar.Header{file(".", "x")}, "the root is not a directory"},
		"the root as a hard link":              {[]*tar.Header{file("a", ""), hardlink("./", "a")}, "the root is not a directory"},
		"a file as a parent":                   {[]*tar.Header{file("a", "x"), file("a/b", "y")}, "is not a directory"},
		"owner out of range":                   {[]*tar.Header{with(file("a", "x"), func(h *tar.Header) { h.Uid = 1<<32 - 1 })}, "out of range"},
		"negative owner":                       {[]*tar.Header{with(file("a", "x"), func(h *tar.Header) { h.Gid = -1 })}, "out of range"},
		"unknown type":                         {[]*tar.Header{with(file("a", ""), func(h *tar.Header) { h.Typeflag = 'Z' })}, "unknown type"},
		"long component":                       {[]*tar.Header{file(strings.Repeat("n", 300), "x")}, "file name too long"},
		"long name":                            {[]*tar.Header{file(strings.Repeat("n/", 2100)+"x", "x")}, "exceeds a limit"},
		"deep name":                            {[]*tar.Header{file(strings.Repeat("n/", 300)+"x", "x")}, "256 are allowed"},
		"empty symlink":                        {[]*tar.Header{symlink("x", "")}, "symlink to a name of 0 bytes"},
		"many attributes":                      {[]*tar.Header{xattr(file("x", ""), manyAttributes()...)}, "extended attributes"},
		"a large attribute":                    {[]*tar.Header{xattr(file("x", ""), "user.a", strings.Repeat("x", 70_000))}, "extended attributes"},
	}
}

func manyAttributes() []string {
	var pairs []string
	for i := range 1000 {
		pairs = append(pairs, fmt.Sprintf("user.n%d", i), "x")
	}
	return pairs
}

func TestUnpackHostile(t *testing.T) {
	needRoot(t)
	home := t.TempDir()
	outside := newCanary(t, filepath.Join(home, "outside"))
	n := 0
	for name, tt := range hostile(outside.path) {
		t.Run(name, func(t *testing.T) {
			n++
			root := filepath.Join(home, fmt.Sprint("root", n))
			must(t, os.Mkdir(root, 0o755))
			beside := newCanary(t, filepath.Join(home, fmt.Sprint("beside", n)))
			_, err := Unpack(bytes.NewReader(makeTar(t, tt.in...)), root, Options{})
			if tt.want == "" {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			outside.check(t)
			beside.check(t)
		})
	}
}

// TestUnpackUnderRename changes the tree while it is written, as no process can do in the store, which is 0700: the kernel's resolution
// must keep every path inside all the same.
func TestUnpackUnderRename(t *testing.T) {
	needRoot(t)
	home := t.TempDir()
	outside := newCanary(t, filepath.Join(home, "outside"))
	root := filepath.Join(home, "root")
	must(t, os.MkdirAll(filepath.Join(root, "a"), 0o755))
	must(t, os.Symlink(outside.path, filepath.Join(root, "b")))
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		swaps := 0
		for {
			select {
			case <-stop:
				done <- swaps
				return
			default:
				if unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "a"), unix.AT_FDCWD, filepath.Join(root, "b"), unix.RENAME_EXCHANGE) == nil {
					swaps++
				}
			}
		}
	}()
	layer := makeTar(t, file("a/secret", "owned"), file("a/.wh.dir", ""), hardlink("x", "a/secret"), file("b/secret", "owned"), file("b/dir/file", "owned"), dir("a/dir"))
	for range 500 {
		_, _ = Unpack(bytes.NewReader(layer), root, Options{})
	}
	close(stop)
	if swaps := <-done; swaps < 500 {
		t.Errorf("only %d swaps", swaps)
	}
	outside.check(t)
}

func TestUnpackLimits(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		limits Limits
		in     []*tar.Header
		ok     bool
	}{
		"bytes at the limit":     {Limits{Bytes: 6}, []*tar.Header{file("a", "123"), file("b", "456")}, true},
		"bytes above the limit":  {Limits{Bytes: 5}, []*tar.Header{file("a", "123"), file("b", "456")}, false},
		"entries at the limit":   {Limits{Entries: 2}, []*tar.Header{file("a", ""), file("a", "")}, true},
		"entries above":          {Limits{Entries: 2}, []*tar.Header{file("a", ""), file("a", ""), file("a", "")}, false},
		"depth at the limit":     {Limits{Depth: 3}, []*tar.Header{file("a/b/c", "")}, true},
		"depth above the limit":  {Limits{Depth: 3}, []*tar.Header{file("a/b/c/d", "")}, false},
		"depth of a link target": {Limits{Depth: 3}, []*tar.Header{hardlink("x", "a/b/c/d")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Unpack(bytes.NewReader(makeTar(t, tt.in...)), t.TempDir(), Options{Limits: tt.limits})
			if tt.ok {
				must(t, err)
			} else if !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestUnpackStopsWhenTold(t *testing.T) {
	needRoot(t)
	enough := errors.New("enough")
	var total int64
	_, err := Unpack(bytes.NewReader(makeTar(t, file("a", strings.Repeat("x", 1<<20)))), t.TempDir(), Options{Wrote: func(n int64) error {
		if total += n; total > 300_000 {
			return enough
		}
		return nil
	}})
	if !errors.Is(err, enough) || total > 1<<19+1 {
		t.Errorf("stopped after %d bytes with %v", total, err)
	}
}

func TestUnpackSparse(t *testing.T) {
	needRoot(t)
	// A PAX 1.0 sparse file of 1 MiB with one block of data at 512 KiB, written by hand: archive/tar writes none.
	blockMap := fmt.Sprintf("1\n%d\n512\n", 512<<10)
	data := append([]byte(blockMap), make([]byte, 512-len(blockMap))...)
	data = append(data, bytes.Repeat([]byte("D"), 512)...)
	var pax strings.Builder
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=big", fmt.Sprint("GNU.sparse.realsize=", 1<<20)} {
		n := len(kv) + 3
		for len(fmt.Sprint(n))+1+len(kv)+1 != n {
			n++
		}
		fmt.Fprintf(&pax, "%d %s\n", n, kv)
	}
	raw := append(rawHeader("PaxHeaders/big", 'x', pax.Len()), pad([]byte(pax.String()))...)
	raw = append(raw, rawHeader("GNUSparseFile/big", '0', len(data))...)
	raw = append(raw, pad(data)...)
	raw = append(raw, make([]byte, 1024)...)
	root := t.TempDir()
	got, err := Unpack(bytes.NewReader(raw), root, Options{})
	must(t, err)
	content, err := os.ReadFile(filepath.Join(root, "big"))
	must(t, err)
	want := make([]byte, 1<<20)
	copy(want[512<<10:], bytes.Repeat([]byte("D"), 512))
	if !bytes.Equal(content, want) {
		t.Error("the sparse file has other content")
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(root, "big"), &st))
	if st.Blocks*512 > 64<<10 {
		t.Errorf("%d bytes are allocated for 512 bytes of data", st.Blocks*512)
	}
	if got.Bytes != 1<<20 {
		t.Errorf("%d bytes are counted", got.Bytes)
	}
	// Holes count: a header that promises 8 EiB is refused before anything is written.
	if _, err := Unpack(bytes.NewReader(raw), t.TempDir(), Options{Limits: Limits{Bytes: 1<<20 - 1}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("holes are not counted: %v", err)
	}
}

func rawHeader(name string, kind byte, size int) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ")
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

func pad(b []byte) []byte {
	if r := len(b) % 512; r != 0 {
		b = append(b, make([]byte, 512-r)...)
	}
	return b
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
