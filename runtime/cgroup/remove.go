package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// removeTimeout bounds a removal whose context has no deadline: what is not dead by then hangs in the kernel.
	removeTimeout = 30 * time.Second
	// firstRetry and lastRetry are the waits where the kernel tells nothing: v1, and the moment between "empty" and "may be removed".
	firstRetry = 500 * time.Microsecond
	lastRetry  = 50 * time.Millisecond
)

// removeWaiting removes a group and all below it as soon as nothing lives there.
func removeWaiting(ctx context.Context, dir string) error {
	err := removeTree(dir)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	for wait := firstRetry; errors.Is(err, unix.EBUSY); wait = min(2*wait, lastRetry) {
		if werr := waitEmpty(ctx, dir, wait); werr != nil {
			found, _ := pids(dir)
			return fmt.Errorf("cannot remove group %s, in which processes %v live: %w", dir, found, werr)
		}
		err = removeTree(dir)
	}
	return err
}

// removeTree removes a group and all below it, once. What does not exist is not an error.
func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	names, lerr := subgroups(dir)
	if lerr != nil {
		return lerr
	}
	for _, name := range names {
		if err := removeTree(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		err = unix.Rmdir(dir)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove group %s: %w", dir, err)
	}
	return nil
}

// waitEmpty returns when the group is said to be empty: by the kernel where it has cgroup.events, else after the wait.
func waitEmpty(ctx context.Context, dir string, wait time.Duration) error {
	waited, err := waitEvent(ctx, dir)
	if err != nil || waited {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitEvent waits for cgroup.events to say "populated 0" and returns true; false when there is no such file or it says so already.
// The file takes part in the Go poller, so waiting holds no thread.
func waitEvent(ctx context.Context, dir string) (bool, error) {
	fd, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, nil // v1, or the group is gone: the caller looks again
	}
	f := os.NewFile(uintptr(fd), "cgroup.events")
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("cannot watch a group: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()
	waited := false
	buf := make([]byte, 256)
	rerr := conn.Read(func(fd uintptr) bool {
		n, err := unix.Pread(int(fd), buf, 0)
		empty := err != nil || strings.Contains(string(buf[:max(n, 0)]), "populated 0")
		waited = waited || !empty
		return empty
	})
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if rerr != nil {
		return false, nil // the poller does not take this file: the caller waits by time
	}
	return waited, nil
}
