package sys

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// never is a moment that no clock reaches: the year 2243, in seconds.
const never = 1 << 33

// ClockWatch notices that the machine's clock was set, which timers that measure time do not: by hand, by a time server, or because the
// machine slept.
type ClockWatch struct{ file *os.File }

// WatchClock begins to watch. Slow corrections, as time servers prefer them, go unnoticed: they lose nobody a moment.
func WatchClock() (*ClockWatch, error) {
	n, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the clock: %w", err)
	}
	at := unix.ItimerSpec{Value: unix.Timespec{Sec: never}}
	if err := unix.TimerfdSettime(n, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &at, nil); err != nil {
		_ = unix.Close(n)
		return nil, fmt.Errorf("cannot watch the clock: %w", err)
	}
	return &ClockWatch{os.NewFile(uintptr(n), "clock")}, nil
}

// Wait returns nil when the clock was set since the last call, and an error after Close.
func (w *ClockWatch) Wait() error {
	var ticks [8]byte
	_, err := w.file.Read(ticks[:])
	if err == nil || errors.Is(err, unix.ECANCELED) {
		return nil
	}
	return err
}

// Close ends the watch, and a Wait that is under way.
func (w *ClockWatch) Close() error { return w.file.Close() }
