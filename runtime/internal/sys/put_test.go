package sys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestPut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Put(path, 0, 0, []byte("x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Put into nothing = %v", err)
	}
	for _, text := range []string{"a longer one", "short", ""} {
		if err := PutNew(path, 0o600, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v; want %q", got, err, text)
		}
	}
	if err := Replace(path, path+".new", 0o640, []byte("another")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 || info.Size() != 7 {
		t.Errorf("replaced by %v, %v", info, err)
	}
	if err := Replace(filepath.Dir(path), path+".new", 0o600, nil); err == nil {
		t.Error("a directory was replaced")
	}
	// What a device does not take is an error, as when a disk is full.
	if err := Put("/dev/full", 0, 0, []byte("x")); err == nil {
		t.Error("written to a full device")
	}
}
