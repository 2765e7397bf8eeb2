package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/internal/sys"
)

func TestDisks(t *testing.T) {
	d := Disks(filepath.Join(t.TempDir(), "volumes"))
	if _, err := d.Open("a"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Open before Make = %v, want ErrNotFound", err)
	}
	must(t, d.Remove("a"))
	for _, v := range []runtime.StoredVolume{{ID: "b", Label: []byte("1")}, {ID: "a", Label: []byte("2")}, {ID: "b", Label: []byte("3")}} {
		must(t, d.Make(v))
	}
	must(t, d.Make(runtime.StoredVolume{ID: "c", Label: []byte("5"), NoData: true}))
	if _, err := d.Open("c"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Open of a label alone = %v, want ErrNotFound", err)
	}
	file := filepath.Join(string(d), "b", diskData, "file")
	must(t, os.WriteFile(file, []byte("kept"), 0o600))
	must(t, d.Make(runtime.StoredVolume{ID: "b", Label: []byte("4")}))
	list, err := d.List()
	must(t, err)
	if diff := cmp.Diff([]runtime.StoredVolume{{ID: "a", Label: []byte("2")}, {ID: "b", Label: []byte("4")}, {ID: "c", Label: []byte("5"), NoData: true}}, list); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "kept" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("the data's mode is %v, %v", info.Mode(), err)
	}
	must(t, d.Remove("c"))
	must(t, d.Remove("b"))
	must(t, d.Remove("b"))
	if entries, err := os.ReadDir(string(d)); err != nil || len(entries) != 1 {
		t.Errorf("after Remove there is %v, %v", entries, err)
	}
}

func TestDisksRefuseNames(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	must(t, os.Mkdir(outside, 0o700))
	d := Disks(filepath.Join(dir, "volumes"))
	for _, id := range []string{"", ".", "..", "../outside", "a/b", ".hidden", "A", "a\x00"} {
		if err := d.Make(runtime.StoredVolume{ID: id}); err == nil {
			t.Errorf("Make(%q) succeeded", id)
		}
		if err := d.Remove(id); err == nil {
			t.Errorf("Remove(%q) succeeded", id)
		}
		if fd, err := d.Open(id); err == nil {
			_ = fd.Close()
			t.Errorf("Open(%q) succeeded", id)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

// A crash while a volume is made or removed leaves it whole or not at all.
func TestDisksAfterCrash(t *testing.T) {
	d := Disks(t.TempDir())
	must(t, d.Make(runtime.StoredVolume{ID: "a", Label: []byte("1")}))
	for _, rubbish := range []string{".new-1/data", ".gone-2/data/file"} {
		must(t, os.MkdirAll(filepath.Join(string(d), rubbish), 0o700))
	}
	must(t, os.WriteFile(filepath.Join(string(d), "a", diskLabel+"-123"), nil, 0o600))
	list, err := d.List()
	must(t, err)
	if len(list) != 1 || string(list[0].Label) != "1" {
		t.Errorf("List = %v", list)
	}
	must(t, d.Sweep())
	if entries, err := os.ReadDir(string(d)); err != nil || len(entries) != 1 {
		t.Errorf("after Sweep there is %v, %v", entries, err)
	}
	must(t, os.Remove(filepath.Join(string(d), "a", diskLabel)))
	if list, err := d.List(); err != nil || len(list) != 1 || list[0].Label != nil {
		t.Errorf("without its label List = %v, %v", list, err)
	}
}

// A link in the place of a volume's directory leads nowhere.
func TestDisksFollowNoLink(t *testing.T) {
	dir := t.TempDir()
	d := Disks(filepath.Join(dir, "volumes"))
	must(t, d.Make(runtime.StoredVolume{ID: "a"}))
	outside := filepath.Join(dir, "outside")
	must(t, os.MkdirAll(filepath.Join(outside, "file"), 0o700))
	data := filepath.Join(string(d), "a", diskData)
	must(t, os.Remove(data))
	must(t, os.Symlink(outside, data))
	if fd, err := d.Open("a"); err == nil {
		_ = fd.Close()
		t.Error("a link was opened")
	}
	must(t, d.Remove("a"))
	if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
		t.Error(err)
	}
}

func TestGiveToGroup(t *testing.T) {
	root(t)
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.Chmod(outside, 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "file"), nil, 0o600))
	must(t, os.Chmod(filepath.Join(dir, "sub", "file"), 0o600|os.ModeSetuid))
	must(t, os.Symlink(outside, filepath.Join(dir, "link")))
	vol, err := sys.OpenDir(dir)
	must(t, err)
	defer func() { _ = vol.Close() }()
	look := func(path string) (mode, gid uint32) {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dir, path), &st))
		return st.Mode & 0o7777, st.Gid
	}
	must(t, GiveToGroup(vol, 2000, false))
	for path, want := range map[string]uint32{".": 0o2770, "sub": 0o2770, "sub/file": 0o4660} {
		if mode, gid := look(path); mode&want != want || gid != 2000 {
			t.Errorf("%s is %o of group %d, want %o of 2000", path, mode, gid, want)
		}
	}
	if _, gid := look("link"); gid != 2000 {
		t.Errorf("the link's group is %d", gid)
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the link was followed: %v, %v", info.Mode(), err)
	}
	must(t, os.Chown(filepath.Join(dir, "sub", "file"), 0, 0))
	must(t, GiveToGroup(vol, 2000, true))
	if _, gid := look("sub/file"); gid != 0 {
		t.Error("with onMismatch a tree was walked whose root is right")
	}
	must(t, GiveToGroup(vol, 3000, true))
	if _, gid := look("sub/file"); gid != 3000 {
		t.Error("with onMismatch a tree was not walked whose root is wrong")
	}
}

// A full disk is told apart, and leaves nothing half made.
func TestDisksWhenFull(t *testing.T) {
	root(t)
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=20"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	d := Disks(filepath.Join(dir, "volumes"))
	must(t, d.Make(runtime.StoredVolume{ID: "first", Label: []byte("kept")}))
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = os.WriteFile(filepath.Join(dir, "filler"+string(rune('0'+i))), make([]byte, 4096), 0o600)
	}
	if err := d.Make(runtime.StoredVolume{ID: "second", Label: make([]byte, 8192)}); !errors.Is(err, runtime.ErrDiskFull) {
		t.Errorf("Make on a full disk = %v, want ErrDiskFull", err)
	}
	if err := d.Make(runtime.StoredVolume{ID: "first", Label: make([]byte, 8192)}); !errors.Is(err, runtime.ErrDiskFull) {
		t.Errorf("a new label on a full disk = %v, want ErrDiskFull", err)
	}
	list, err := d.List()
	must(t, err)
	if len(list) != 1 || string(list[0].Label) != "kept" {
		t.Errorf("List = %v", list)
	}
	entries, err := os.ReadDir(string(d))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("left is %v", entries)
	}
}
