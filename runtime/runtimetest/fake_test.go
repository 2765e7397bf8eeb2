package runtimetest

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"berth/runtime"
)

type wall struct{}

func (wall) Now() time.Time { return time.Now() }

func TestFakeIsARuntime(t *testing.T) {
	Run(t, func(*testing.T) Machine {
		f := New(wall{})
		f.OnStart(func(_ string, cfg runtime.ContainerConfig) error {
			if len(cfg.Command) > 0 && cfg.Command[0] == "/no/such/program" {
				return &runtime.StartError{Reason: runtime.ReasonCannotRun, Step: "execve /no/such/program", Err: errors.New("no such file or directory")}
			}
			return nil
		})
		return open(f)
	})
}

func open(f *Fake) Machine {
	return Machine{
		Pods: f, Containers: f, Executor: f, Dialer: f, Events: f, Images: f, Volumes: f,
		Reopen: func(*testing.T) Machine { return open(f.Reopen()) },
		Image:  "example.test/app:1", Sleep: []string{"sleep"}, Stubborn: []string{"stubborn"},
		Exit: func(code int) []string { return []string{"exit", strconv.Itoa(code)} },
		Echo: func(text string) []string { return []string{"echo", text} },
	}
}

func TestKillAfter(t *testing.T) {
	for _, after := range []bool{false, true} {
		f := New(wall{})
		f.KillAfter(1, after, nil)
		for _, uid := range []string{"a", "b"} {
			_, err := f.RunSandbox(t.Context(), runtime.SandboxConfig{UID: uid})
			if got, want := errors.Is(err, ErrDied), uid == "b"; got != want {
				t.Errorf("after=%t: RunSandbox %s = %v", after, uid, err)
			}
		}
		if _, err := f.List(t.Context()); !errors.Is(err, ErrDied) {
			t.Errorf("after=%t: a dead handle lists: %v", after, err)
		}
		want := 1
		if after {
			want = 2
		}
		if got := len(f.Reopen().pods); got != want {
			t.Errorf("after=%t: %d pods survive, want %d", after, got, want)
		}
	}
}
