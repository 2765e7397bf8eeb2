package dir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/manifests"
)

// writable is a watched directory that can be written to through its source.
func writable(t *testing.T, dir string) (*Source, *watched) {
	t.Helper()
	s := New(dir, Options{})
	w := &watched{t: t, dir: dir, bell: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, w.take) }()
	t.Cleanup(func() { cancel(); <-done })
	w.until("the first snapshot", func(manifests.Snapshot) bool { return true })
	return s, w
}

const aMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: \"1\"}\n"

func replace(old, now string) func([]byte) ([]byte, error) {
	return func(data []byte) ([]byte, error) { return []byte(strings.Replace(string(data), old, now, 1)), nil }
}

func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "real.d", "a.yaml")
	must(t, os.Mkdir(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(aMap), 0o640), os.Chmod(path, 0o640))
	s, w := writable(t, dir)
	must(t, s.Rewrite(t.Context(), "real.d/a.yaml", replace(`"1"`, `"2"`)))
	snap := w.snapshots()[len(w.snapshots())-1] // there already
	if len(snap.Objects) != 1 || !strings.Contains(string(read(t, path)), `"2"`) {
		t.Errorf("snapshot %v, file %s", snap.Objects, read(t, path))
	}
	before := len(w.snapshots())
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	must(t, s.Rewrite(t.Context(), "kubectl/default.ConfigMap.b.yaml", func(data []byte) ([]byte, error) {
		if data != nil {
			t.Errorf("content %q of no file", data)
		}
		return []byte(strings.ReplaceAll(aMap, "name: a", "name: b")), nil
	}))
	if snap = w.snapshots()[len(w.snapshots())-1]; len(snap.Objects) != 2 || snap.Objects[1].Origin.File != "kubectl/default.ConfigMap.b.yaml" {
		t.Errorf("after a new file: %v", snap.Objects)
	}
	must(t, s.Rewrite(t.Context(), "real.d/a.yaml", func([]byte) ([]byte, error) { return nil, nil }))
	if snap = w.snapshots()[len(w.snapshots())-1]; len(snap.Objects) != 1 || len(snap.Incomplete) > 0 {
		t.Errorf("after a removal: %v", snap.Objects)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is there: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	must(t, os.WriteFile(filepath.Join(dir, ".c"), []byte(strings.ReplaceAll(aMap, "name: a", "name: c")), 0o600), os.Rename(filepath.Join(dir, ".c"), filepath.Join(dir, "c.yaml")))
	w.until("the next file of a person", func(s manifests.Snapshot) bool { return len(s.Objects) == 2 })
	if n := len(w.snapshots()) - before; n != 3 {
		t.Errorf("%d snapshots, want one for each of three changes: the watcher has told of what it was given", n)
	}
}

func TestRewriteThroughLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, ".hidden"), 0o755), os.WriteFile(filepath.Join(dir, ".hidden", "a.yaml"), []byte(aMap), 0o600),
		os.Symlink(".hidden/a.yaml", filepath.Join(dir, "a.yaml")),
		os.WriteFile(filepath.Join(outside, "x.yaml"), []byte(aMap), 0o600), os.Symlink(filepath.Join(outside, "x.yaml"), filepath.Join(dir, "x.yaml")),
		os.Symlink(outside, filepath.Join(dir, "kubectl")), os.Symlink(filepath.Join(outside, "none"), filepath.Join(dir, "nowhere.yaml")))
	s, _ := writable(t, dir)
	must(t, s.Rewrite(t.Context(), "a.yaml", replace(`"1"`, `"2"`)))
	if info, err := os.Lstat(filepath.Join(dir, "a.yaml")); err != nil || info.Mode()&os.ModeSymlink == 0 || !strings.Contains(string(read(t, filepath.Join(dir, ".hidden", "a.yaml"))), `"2"`) {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	for _, name := range []string{"x.yaml", "kubectl/new.yaml", "kubectl/deeper/new.yaml", "nowhere.yaml", "../x.yaml", "/etc/x.yaml", "a.txt", ".git/a.yaml/.x.yaml"} {
		if err := s.Rewrite(t.Context(), name, func([]byte) ([]byte, error) { return []byte("#\n"), nil }); !errors.Is(err, manifests.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("outside there is %v", entries)
	}
}

// What is left of a write that a crash cut short goes with the next one, and nothing else does; a name may be as long as names can be.
func TestRewriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("x", 250) + ".yaml"
	hour := time.Now().Add(-2 * abandoned)
	for name, old := range map[string]bool{".berth-1.tmp": true, ".berth-2.tmp": false, ".berth-x": true} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		if old {
			must(t, os.Chtimes(filepath.Join(dir, name), hour, hour))
		}
	}
	s, _ := writable(t, dir)
	must(t, s.Rewrite(t.Context(), long, func([]byte) ([]byte, error) { return []byte(aMap), nil }))
	var names []string
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{".berth-2.tmp", ".berth-x", long}; !slices.Equal(names, want) {
		t.Errorf("there is %q, want %q", names, want)
	}
}

// A disk without room and a change that breaks down leave the file as it was, and the next change is made.
func TestRewriteFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	must(t, syscall.Mount("berth-test", dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	path := filepath.Join(dir, "a.yaml")
	must(t, os.WriteFile(path, []byte(aMap), 0o600))
	s, w := writable(t, dir)
	err := s.Rewrite(t.Context(), "a.yaml", func(data []byte) ([]byte, error) { return append(data, "#"+strings.Repeat("x", 1<<20)...), nil })
	if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, manifests.ErrReadOnly) {
		t.Errorf("a full disk: %v", err)
	}
	if err := s.Rewrite(t.Context(), "a.yaml", func(data []byte) ([]byte, error) { return data[:1<<20], nil }); err == nil || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("a change that breaks down: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 || string(read(t, path)) != aMap || len(w.snapshots()) != 1 {
		t.Errorf("there is %v, %s; %d snapshots", entries, read(t, path), len(w.snapshots()))
	}
	must(t, s.Rewrite(t.Context(), "a.yaml", replace(`"1"`, `"2"`)))
}

// Of several files all change at once, or none.
func TestRewriteAll(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "sub/c"} {
		mustWrite(t, filepath.Join(dir, name+".yaml"), strings.ReplaceAll(aMap, "name: a", "name: "+filepath.Base(name)))
	}
	s, w := writable(t, dir)
	before := len(w.snapshots())
	files := []string{"a.yaml", "b.yaml", "sub/c.yaml"}
	no := errors.New("no")
	err := s.RewriteAll(t.Context(), append(files, "../d.yaml"), func(file string, data []byte) ([]byte, error) {
		if file == "b.yaml" {
			return nil, no
		}
		return nil, nil
	})
	if !errors.Is(err, no) || !errors.Is(err, manifests.ErrReadOnly) || !strings.Contains(err.Error(), "../d.yaml") {
		t.Errorf("refused: %v", err)
	}
	err = s.RewriteAll(t.Context(), files, func(file string, data []byte) ([]byte, error) {
		if file == "sub/c.yaml" {
			mustWrite(t, filepath.Join(dir, "b.yaml"), aMap+"# saved meanwhile\n")
		}
		return nil, nil
	})
	if !errors.Is(err, manifests.ErrConflict) || !strings.Contains(err.Error(), "b.yaml") {
		t.Errorf("changed meanwhile: %v", err)
	}
	if string(read(t, filepath.Join(dir, "a.yaml"))) != aMap || len(w.snapshots()) != before {
		t.Errorf("of what was refused something happened: %d snapshots", len(w.snapshots())-before)
	}
	must(t, s.RewriteAll(t.Context(), files, func(file string, data []byte) ([]byte, error) {
		if file == "a.yaml" {
			return replace(`"1"`, `"2"`)(data)
		}
		return nil, nil
	}))
	list := w.snapshots()[before:]
	if len(list) != 1 || len(list[0].Objects) != 1 || !strings.Contains(string(read(t, filepath.Join(dir, "a.yaml"))), `"2"`) {
		t.Errorf("%d snapshots, %v", len(list), list)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if os.Geteuid() != 0 {
		return
	}
	mustWrite(t, filepath.Join(dir, "sub/d.yaml"), strings.ReplaceAll(aMap, "name: a", "name: d"))
	must(t, syscall.Mount(filepath.Join(dir, "sub"), filepath.Join(dir, "sub"), "", syscall.MS_BIND, ""))
	t.Cleanup(func() { _ = syscall.Unmount(filepath.Join(dir, "sub"), syscall.MNT_DETACH) })
	must(t, syscall.Mount("", filepath.Join(dir, "sub"), "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	err = s.RewriteAll(t.Context(), []string{"a.yaml", "sub/d.yaml"}, func(string, []byte) ([]byte, error) { return nil, nil })
	if _, gone := os.Stat(filepath.Join(dir, "a.yaml")); gone != nil || !errors.Is(err, manifests.ErrReadOnly) {
		t.Errorf("one that cannot be removed: %v, %v", gone, err)
	}
}

func TestRewriteConflict(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	must(t, os.WriteFile(path, []byte(aMap), 0o600))
	s, _ := writable(t, dir)
	err := s.Rewrite(t.Context(), "a.yaml", func(data []byte) ([]byte, error) {
		must(t, os.WriteFile(path, []byte(strings.Replace(aMap, `"1"`, `"editor"`, 1)), 0o600)) // somebody saves meanwhile
		return replace(`"1"`, `"2"`)(data)
	})
	if !errors.Is(err, manifests.ErrConflict) || !strings.Contains(string(read(t, path)), "editor") {
		t.Errorf("%v; %s", err, read(t, path))
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	if err := s.Rewrite(t.Context(), "a.yaml", replace("editor", "2")); !errors.Is(err, manifests.ErrConflict) {
		t.Errorf("open for writing: %v", err)
	}
	must(t, f.Close())
	no := errors.New("no")
	if err := s.Rewrite(t.Context(), "a.yaml", func([]byte) ([]byte, error) { return nil, no }); !errors.Is(err, no) {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := New(dir, Options{}).Rewrite(ctx, "a.yaml", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody runs: %v", err)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}
