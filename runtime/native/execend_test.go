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

// giveUp cancels as soon as anything is written.
type giveUp struct {
	said   bytes.Buffer
	cancel context.CancelFunc
	at     time.Time
}

func (g *giveUp) Write(p []byte) (int, error) {
	g.at = time.Now()
	g.cancel()
	return g.said.Write(p)
}

// An exec that is given up goes with everything it has started, and is not waited for.
func TestExecGivenUp(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	if _, err := m.StartContainer(t.Context(), "pod", script("sleep 1000")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &giveUp{cancel: cancel}
	_, err := m.Exec(ctx, "pod", "main", runtime.ExecConfig{Command: []string{"sh", "-c", "sleep 1234 & echo begun; sleep 1235; true"}, Stdout: w})
	if took := time.Since(w.at); !errors.Is(err, context.Canceled) || took > drainTime/2 {
		t.Errorf("Exec = %v, %s after it was given up", err, took)
	}
	if w.said.String() != "begun\n" {
		t.Fatalf("it printed %q", w.said.String())
	}
	var out bytes.Buffer
	if _, err := m.Exec(t.Context(), "pod", "main", runtime.ExecConfig{Command: []string{"ps"}, Stdout: &out}); err != nil || strings.Contains(out.String(), "123") {
		t.Errorf("left in the container (%v):\n%s", err, out.String())
	}
}
