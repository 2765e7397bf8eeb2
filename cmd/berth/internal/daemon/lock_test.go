package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	if got := Holder(dir); got != 0 {
		t.Errorf("Holder of a fresh directory = %d, want 0", got)
	}
	lock, err := Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Acquire(dir)
	if !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second Acquire = %v, want ErrRunning with our pid", err)
	}
	if got := Holder(dir); got != os.Getpid() {
		t.Errorf("Holder = %d, want %d", got, os.Getpid())
	}
	synctest.Test(t, func(t *testing.T) {
		go func() {
			time.Sleep(dyingPatience / 2) // by the test's clock
			lock.Release()
		}()
		again, err := AcquireSoon(t.Context(), dir)
		if err != nil {
			t.Fatalf("AcquireSoon while the holder dies: %v", err)
		}
		defer again.Release()
		if _, err := AcquireSoon(t.Context(), dir); !errors.Is(err, ErrRunning) {
			t.Errorf("AcquireSoon beside one that lives: %v, want ErrRunning", err)
		}
	})
}

func TestInstanceID(t *testing.T) {
	dir, run := t.TempDir(), t.TempDir()
	id, err := InstanceID(dir, run)
	if err != nil || !idForm.MatchString(id) {
		t.Fatalf("InstanceID = %q, %v", id, err)
	}
	for lost, dirs := range map[string][2]string{"nothing": {dir, run}, "the state": {t.TempDir(), run}, "the run directory": {dir, t.TempDir()}} {
		if again, err := InstanceID(dirs[0], dirs[1]); again != id || err != nil {
			t.Errorf("second InstanceID without %s = %q, %v, want %q", lost, again, err, id)
		}
	}
	if other, err := InstanceID(t.TempDir(), filepath.Join(dir, "none")); other == id || err != nil {
		t.Errorf("InstanceID of another = %q, %v, want one of its own", other, err)
	}
	if err := os.WriteFile(dir+"/id", []byte("../../etc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := InstanceID(dir, run); err == nil {
		t.Errorf("InstanceID of a broken file = %q, want an error", got)
	}
}
