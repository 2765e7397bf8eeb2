package sys

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// EnterNetNS moves the calling thread, which its caller has locked, to another network namespace. It does not come back by itself.
func EnterNetNS(netns *os.File) error {
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot enter network namespace: %w", err)
	}
	return nil
}

// Away runs f on a thread of its own that may go to another network namespace. It comes back when f has ended; if it cannot it ends, too.
func Away(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("cannot open the machine's network namespace: %w", err)
			return
		}
		defer func() { _ = unix.Close(home) }()
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
