package sys

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestClockWatch sets the clock by a nanosecond.
func TestClockWatch(t *testing.T) {
	w, err := WatchClock()
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan error, 2)
	go func() {
		woken <- w.Wait()
		woken <- w.Wait()
	}()
	step := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO}
	step.Time.Usec = 1 // nanoseconds, with ADJ_NANO
	switch _, err := unix.Adjtimex(&step); {
	case errors.Is(err, unix.EPERM):
		t.Skip("whoever made this container does not let it set the clock")
	case err != nil:
		t.Fatal(err)
	}
	select {
	case err := <-woken:
		if err != nil {
			t.Errorf("Wait: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody noticed that the clock was set")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; err == nil {
		t.Error("Wait goes on after Close")
	}
}
