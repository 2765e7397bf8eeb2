package daemon

import (
	"errors"
	"os"
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
	dir := t.TempDir()
	id, err := InstanceID(dir)
	if err != nil || !idForm.MatchString(id) {
		t.Fatalf("InstanceID = %q, %v", id, err)
	}
	if again, err := InstanceID(dir); again != id || err != nil {
		t.Errorf("second InstanceID = %q, %v, want %q", again, err, id)
	}
	if err := os.WriteFile(dir+"/id", []byte("../../etc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := InstanceID(dir); err == nil {
		t.Errorf("InstanceID of a broken file = %q, want an error", got)
	}
}
