package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/controller"
)

type fakeControlled struct{ allowed [][]string }

func (f *fakeControlled) StatusJSON() ([]byte, error) { return []byte(`{"a":1}`), nil }

func (f *fakeControlled) RemoveVolumes([]string) error { return nil }

func (f *fakeControlled) Allow(targets []string) ([]string, error) {
	f.allowed = append(f.allowed, targets)
	if len(targets) == 1 && targets[0] == "nothing" {
		return nil, errors.New("nothing waits by that name")
	}
	return targets, nil
}

func (f *fakeControlled) Why(r WhyRequest) (controller.Account, error) {
	if r.Target == "" {
		return controller.Account{}, errors.New("nothing is known")
	}
	return controller.Account{Object: r.Target}, nil
}

func (f *fakeControlled) Rollout(_ context.Context, r Rollout) (RolloutAnswer, error) {
	if r.Name != "web" {
		return RolloutAnswer{}, errors.New("not found")
	}
	return RolloutAnswer{Text: r.Verb}, nil
}

func TestControl(t *testing.T) {
	for name, dir := range map[string]string{"short": "r", "long": strings.Repeat("long/", 30)} {
		t.Run(name, func(t *testing.T) {
			runDir := filepath.Join(t.TempDir(), dir)
			if err := os.MkdirAll(runDir, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := Call(t.Context(), runDir, "GET", "/status", nil); !errors.Is(err, ErrNotRunning) {
				t.Fatalf("Call without a server = %v, want ErrNotRunning", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- serveControl(ctx, runDir, &fakeControlled{}) }()
			var data []byte
			err := ErrNotRunning
			for errors.Is(err, ErrNotRunning) && t.Context().Err() == nil {
				data, err = Call(t.Context(), runDir, "GET", "/status", nil)
			}
			if err != nil || string(data) != `{"a":1}` {
				t.Errorf("status = %q, %v", data, err)
			}
			if st, err := os.Stat(filepath.Join(runDir, controlSocket)); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("mode of the socket = %v, %v, want 0600", st.Mode(), err)
			}
			if data, err := Call(t.Context(), runDir, "POST", "/allow", []string{"web.yaml"}); err != nil || string(data) != `["web.yaml"]` {
				t.Errorf("allow = %q, %v", data, err)
			}
			if _, err := Call(t.Context(), runDir, "POST", "/allow", []string{"nothing"}); err == nil || !strings.Contains(err.Error(), "nothing waits") {
				t.Errorf("allow nothing = %v, want the reason", err)
			}
			if data, err := Call(t.Context(), runDir, "POST", "/rollout", Rollout{Verb: "undo", Name: "web"}); err != nil || string(data) != `{"text":"undo"}` {
				t.Errorf("rollout = %q, %v", data, err)
			}
			if _, err := Call(t.Context(), runDir, "POST", "/rollout", Rollout{Verb: "undo"}); err == nil || err.Error() != "not found" {
				t.Errorf("rollout of nothing = %v, want the reason", err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
