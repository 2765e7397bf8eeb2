package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrRunning means that another berth serves the same state directory.
var ErrRunning = errors.New("berth is running already")

// Lock makes this process the only one that serves a state or run directory. The kernel drops it with the process.
type Lock struct {
	file *os.File
}

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

// Acquire takes the lock of a state directory, or fails with ErrRunning and the holder's pid.
func Acquire(stateDir string) (*Lock, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	file, err := os.OpenFile(lockPath(stateDir), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w on %s, as process %d; `berth up --replace` takes over", ErrRunning, stateDir, Holder(stateDir))
		}
		return nil, fmt.Errorf("cannot lock %s: %w", stateDir, err)
	}
	// Of one width, and over the last one's: a full disk has room for that.
	if _, err := file.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot write the lock: %w", err)
	}
	return &Lock{file}, nil
}

// dyingPatience is how long a berth that was killed may hold the lock: the kernel drops it with the last descriptor, which a child between fork
// and execve has, too. Somebody who starts a second one by mistake hears of it as much later.
const dyingPatience = 500 * time.Millisecond

// AcquireSoon is Acquire, with a moment's patience for a holder that is on its way out.
func AcquireSoon(ctx context.Context, stateDir string) (*Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, dyingPatience)
	defer cancel()
	for {
		lock, err := Acquire(stateDir)
		if err == nil || !errors.Is(err, ErrRunning) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// acquireRun takes the lock of a run directory. Who has that of the state directory meets nobody here but a berth with another one.
func acquireRun(ctx context.Context, runDir string) (*Lock, error) {
	lock, err := AcquireSoon(ctx, runDir)
	if errors.Is(err, ErrRunning) {
		return nil, fmt.Errorf("%w with %s as its run directory and another state directory, as process %d: give this one a --run-dir of its own", ErrRunning, runDir, Holder(runDir))
	}
	return lock, err
}

// Release lets the next one in.
func (l *Lock) Release() { l.file.Close() }

// Holder is the pid of the process that serves the state directory, 0 when none does.
func Holder(stateDir string) int {
	file, err := os.Open(lockPath(stateDir))
	if err != nil {
		return 0
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0 // nobody holds it; closing the file drops ours
	}
	data := make([]byte, 16)
	n, _ := file.Read(data) // an unreadable pid reads as 0
	pid, err := strconv.Atoi(strings.TrimSpace(string(data[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// stopped says, behind what a process does not do, that it is stopped (state T: SIGSTOP, a debugger) and how it goes on; "" when it is not.
func stopped(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if _, after, ok := bytes.Cut(stat, []byte(") ")); err != nil || !ok || !slices.Contains([]byte("Tt"), after[0]) {
		return ""
	}
	return fmt.Sprintf(", as it is stopped (state T); kill -CONT %d lets it go on", pid)
}

// endPatience is how long a running berth gets to end after SIGTERM: it promises 5 s.
const endPatience = 10 * time.Second

// StopRunning asks the berth that holds the lock to end and waits until it has; the containers go on.
// It returns the lock, now ours.
func StopRunning(ctx context.Context, stateDir string) (*Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	for signalled := 0; ; {
		lock, err := Acquire(stateDir)
		if err == nil || !errors.Is(err, ErrRunning) {
			return lock, err
		}
		if pid := Holder(stateDir); pid > 1 && pid != signalled {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return nil, fmt.Errorf("cannot ask process %d to end: %w", pid, err)
			}
			signalled = pid
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot take over from process %d: it did not end in %s%s", signalled, endPatience, stopped(signalled))
		case <-time.After(5 * time.Millisecond):
		}
	}
}
