package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"berth/controller"
	"berth/runtime/rootsocket"
)

// The control socket answers the command line of the same user: GET /status, POST /allow, /rollout, /why, /volumes/remove. It is a file only root
// can open, and the peer's uid is checked again. The kubectl API is another thing.
const controlSocket = "berth.sock"

// Controlled is what the control socket offers of a controller.
type Controlled interface {
	// StatusJSON is the whole status as JSON.
	StatusJSON() ([]byte, error)
	// Allow consents to removals that wait: of everything, or of what the targets name. It returns what it consented to.
	Allow(targets []string) ([]string, error)
	// RemoveVolumes begins the end of volumes that no claim has, and of their data.
	RemoveVolumes(names []string) error
	// Rollout does what is asked of a rollout, or tells how it gets on.
	Rollout(ctx context.Context, r Rollout) (RolloutAnswer, error)
	// Why tells why an object is as it is.
	Why(r WhyRequest) (controller.Account, error)
}

// WhyRequest names an object: KIND/NAME, KIND/NAMESPACE/NAME or a name.
type WhyRequest struct {
	Target    string `json:"target"`
	Namespace string `json:"namespace"`
}

// serveControl answers on RUN-DIR/berth.sock until ctx ends.
func serveControl(ctx context.Context, runDir string, c Controlled) error {
	l, err := rootsocket.Listen(filepath.Join(runDir, controlSocket))
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: controlHandler(c), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(rootsocket.Only{Listener: l}) }()
	select {
	case err := <-done:
		return fmt.Errorf("cannot serve the control socket: %w", err)
	case <-ctx.Done():
		_ = srv.Close() // nobody waits for an answer any more
		<-done          //nolint:errcheck // ErrServerClosed, from the line above
		return nil
	}
}

func controlHandler(c Controlled) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		data, err := c.StatusJSON()
		answer(w, data, err)
	})
	post(mux, "/allow", func(_ context.Context, targets []string) ([]string, error) { return c.Allow(targets) })
	post(mux, "/rollout", c.Rollout)
	post(mux, "/why", func(_ context.Context, r WhyRequest) (controller.Account, error) { return c.Why(r) })
	post(mux, "/volumes/remove", func(_ context.Context, names []string) (struct{}, error) { return struct{}{}, c.RemoveVolumes(names) })
	return mux
}

// post serves one request, JSON both ways.
func post[Ask, Told any](mux *http.ServeMux, path string, do func(context.Context, Ask) (Told, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var ask Ask
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&ask); err != nil {
			http.Error(w, "cannot read the request: "+err.Error(), http.StatusBadRequest)
			return
		}
		told, err := do(r.Context(), ask)
		if err != nil {
			answer(w, nil, err)
			return
		}
		data, err := json.Marshal(told)
		answer(w, data, err)
	})
}

func answer(w http.ResponseWriter, data []byte, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data) // the client went away: nobody to tell
}

// Call asks the berth that serves runDir. ErrNotRunning when there is none.
func Call(ctx context.Context, runDir, method, path string, body any) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return rootsocket.Dial(ctx, filepath.Join(runDir, controlSocket))
	}}}
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the request: %w", err)
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://berth"+path, payload)
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, ErrNotRunning
		}
		return nil, fmt.Errorf("cannot reach berth: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot read berth's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(data)))
	}
	return data, nil
}

// Status asks the berth that serves runDir how it is. One that does not answer in answerPatience is named with its process.
func Status(ctx context.Context, stateDir, runDir string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	data, err := Call(ctx, runDir, "GET", "/status", nil)
	if pid := Holder(stateDir); errors.Is(err, context.DeadlineExceeded) && pid > 0 {
		return nil, fmt.Errorf("cannot reach berth: process %d has not answered in %s%s; pods run without it", pid, answerPatience, stopped(pid))
	}
	return data, err
}

// answerPatience is how long a berth may take to say how it is: under load that is milliseconds.
const answerPatience = 5 * time.Second

// ErrNotRunning means that no berth serves the run directory.
var ErrNotRunning = errors.New("berth is not running")
