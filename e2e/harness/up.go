package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Up is a running `berth up`.
type Up struct {
	b    *Berth
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// Write collects what the program prints, on both streams.
func (u *Up) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.out.Write(p)
}

// Up starts the controller on the instance's manifests and returns when it serves.
func (b *Berth) Up(args ...string) *Up {
	b.Helper()
	u := b.StartUp(args...)
	b.Until("the controller to serve", func() error {
		if u.Ended() {
			return fmt.Errorf("it has ended: %s", u.Output())
		}
		s, err := b.Look()
		if err == nil && !s.Ready {
			err = fmt.Errorf("it has not read its files yet")
		}
		return err
	})
	return u
}

// StartUp starts the controller and does not wait for anything.
func (b *Berth) StartUp(args ...string) *Up {
	b.Helper()
	u := &Up{b: b, done: make(chan struct{})}
	u.cmd = b.Command(append([]string{"up", b.Manifests}, args...)...)
	u.cmd.Stdout, u.cmd.Stderr = u, u
	// It must end by itself or by us, not because a terminal does.
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := u.cmd.Start(); err != nil {
		b.Fatalf("cannot start berth up: %v", err)
	}
	go func() {
		_ = u.cmd.Wait()
		close(u.done)
	}()
	b.ups = append(b.ups, u)
	return u
}

// PID is the controller's process.
func (u *Up) PID() int { return u.cmd.Process.Pid }

// Output is what it has printed so far.
func (u *Up) Output() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.out.String()
}

// Ended says whether the process is gone.
func (u *Up) Ended() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// Kill ends it with SIGKILL and waits until it is gone.
func (u *Up) Kill() {
	_ = u.cmd.Process.Kill()
	<-u.done
}

// Signal sends a signal.
func (u *Up) Signal(s syscall.Signal) { _ = u.cmd.Process.Signal(s) }

// Wait waits until it has ended by itself and returns its exit code.
func (u *Up) Wait(limit time.Duration) int {
	u.b.Helper()
	select {
	case <-u.done:
		return u.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		u.b.Fatalf("berth up has not ended within %v: %s", limit, u.Output())
		return -1
	}
}

// UntilLine waits until a line that contains text was printed.
func (u *Up) UntilLine(text string) {
	u.b.Helper()
	u.b.Until(fmt.Sprintf("a line with %q", text), func() error {
		if strings.Contains(u.Output(), text) {
			return nil
		}
		return fmt.Errorf("printed so far: %s", tail(u.Output(), 2000))
	})
}

// Processes lists the processes of the binary with this role ("keeper") and this instance's run directory in their command lines.
func (b *Berth) Processes(role string) []int {
	var out []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		words := strings.Split(string(cmdline), "\x00")
		if err != nil || len(words) < 3 || !strings.Contains(filepath.Base(words[0]), "berth") || words[1] != role {
			continue
		}
		if slices.Contains(words, b.Run) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			out = append(out, pid)
		}
	}
	return out
}

// Keeper is the pid of the instance's keeper, 0 when there is none.
func (b *Berth) Keeper() int {
	for _, pid := range b.Processes("keeper") {
		return pid
	}
	return 0
}

// KillKeeper ends the keeper with SIGKILL; that there is none fails the test.
func (b *Berth) KillKeeper() {
	b.Helper()
	pid := b.Keeper()
	if pid == 0 {
		b.Fatalf("no process shows itself as the keeper of %s", b.Run)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		b.Fatalf("cannot kill the keeper: %v", err)
	}
}

// Running says whether a process exists and is no zombie.
func Running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	after := stat[bytes.LastIndexByte(stat, ')')+1:]
	return len(after) > 1 && after[1] != 'Z' && after[1] != 'X'
}

// Age is how long ago a process has begun; 0 when there is none.
func Age(pid int) time.Duration {
	uptime, err := os.ReadFile("/proc/uptime")
	var now, ticks float64
	if _, bad := fmt.Sscan(string(uptime), &now); err != nil || bad != nil {
		return 0
	}
	if _, err := fmt.Sscan(Started(pid), &ticks); err != nil {
		return 0
	}
	const ticksPerSecond = 100 // USER_HZ, the same on every architecture that berth is for
	return time.Duration((now - ticks/ticksPerSecond) * float64(time.Second))
}

// Started is the start time of a process in clock ticks: with the pid it names one process.
func Started(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 20 {
		return ""
	}
	return f[19]
}
