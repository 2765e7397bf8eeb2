package native

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"berth/runtime"
)

// An exec that is given up goes with everything it has started, and is not waited for.
func TestExecGivenUp(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	if _, err := m.StartContainer(t.Context(), "pod", script("sleep 1000")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	began := time.Now()
	_, err := m.Exec(ctx, "pod", "main", runtime.ExecConfig{Command: []string{"sh", "-c", "echo begun; sleep 1234 & sleep 1235; true"}, Stdout: &out})
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > drainTime/2 {
		t.Errorf("Exec = %v after %s", err, took)
	}
	if out.String() != "begun\n" {
		t.Fatalf("it printed %q", out.String())
	}
	out.Reset()
	if _, err := m.Exec(t.Context(), "pod", "main", runtime.ExecConfig{Command: []string{"ps"}, Stdout: &out}); err != nil || strings.Contains(out.String(), "123") {
		t.Errorf("left in the container (%v):\n%s", err, out.String())
	}
}
