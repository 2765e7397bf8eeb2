package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// A berth that is stopped, by a debugger or a mistaken kill, is not waited for without end: who asks is told which process it is, and what it needs.
func TestAStoppedBerthIsNamed(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("one.yaml", pod("one", run("sleep", "1000")).String())
	up := b.Up()
	b.UntilReady("one", 1)
	up.Signal(syscall.SIGSTOP)
	defer up.Signal(syscall.SIGCONT)
	want := fmt.Sprintf("kill -CONT %d", up.PID())
	for command, limit := range map[string]time.Duration{"status": 10 * time.Second, "down": 20 * time.Second} {
		begun := time.Now()
		if r := b.CLI(command); r.Code == 0 || !strings.Contains(r.Stderr, want) || time.Since(begun) > limit {
			t.Errorf("%s: exit code %d after %s, %q, want %q", command, r.Code, time.Since(begun), r.Stderr, want)
		}
	}
	up.Signal(syscall.SIGCONT)
	if code := up.Wait(10 * time.Second); code != 0 { // down has asked it to end
		t.Errorf("up ended with %d", code)
	}
	b.Up()
	b.UntilReady("one", 1)
}
