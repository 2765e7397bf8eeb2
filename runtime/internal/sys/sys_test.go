package sys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFDClosesOnce(t *testing.T) {
	f, err := OpenPath(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n := f.Int()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// The number may be somebody else's now: a second Close must not touch it.
	other, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(other) }()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(other), unix.F_GETFD, 0); err != nil {
		t.Errorf("closing %d again closed %d: %v", n, other, err)
	}
}

func TestOpenInRootStaysInside(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	must(t, os.Symlink(outside, filepath.Join(dir, "absolute")))
	must(t, os.Symlink("../../../../../../../.."+outside, filepath.Join(dir, "relative")))
	must(t, os.Symlink("/proc/self/root", filepath.Join(dir, "magic")))
	root, err := OpenDir(dir)
	must(t, err)
	defer func() { _ = root.Close() }()
	for _, path := range []string{"absolute/secret", "relative/secret", "magic" + outside + "/secret", "../.." + outside + "/secret"} {
		if fd, err := OpenInRoot(root, path); !errors.Is(err, unix.ENOENT) {
			t.Errorf("OpenInRoot(%q) = %v, %v, want ENOENT", path, fd, err)
		}
	}
}

func TestMkdirAllInRoot(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(dir, "link")))
	must(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	must(t, os.Symlink("real", filepath.Join(dir, "inside")))
	root, err := OpenDir(dir)
	must(t, err)
	defer func() { _ = root.Close() }()

	fd, err := MkdirAllInRoot(root, "inside/a/b", 0o2775, Owner{os.Getuid(), os.Getgid()})
	must(t, err)
	_ = fd.Close()
	if info, err := os.Stat(filepath.Join(dir, "real/a/b")); err != nil || info.Mode() != os.ModeDir|os.ModeSetgid|0o775 {
		t.Errorf("made %v, %v", info.Mode(), err)
	}
	if _, err := MkdirAllInRoot(root, "link/a", 0o755, Owner{}); err == nil {
		t.Error("a directory was made behind a link that leads out")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside holds %v, %v", entries, err)
	}
}

func TestStartTime(t *testing.T) {
	for stat, want := range map[string]uint64{
		"7 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 0":         4711,
		"7 (x) R (y) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 0 0 0": 99,
	} {
		if got, err := parseStartTime([]byte(stat)); err != nil || got != want {
			t.Errorf("parseStartTime(%q) = %d, %v, want %d", stat, got, err, want)
		}
	}
	if _, err := parseStartTime([]byte("7 (a) S 1 2")); err == nil {
		t.Error("a short line was accepted")
	}
	if got, err := StartTime(os.Getpid()); err != nil || got == 0 {
		t.Errorf("StartTime(self) = %d, %v", got, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
