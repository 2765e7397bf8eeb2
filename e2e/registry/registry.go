// Package registry runs a real registry on loopback for the tests, counts what is asked of it, and can be told to misbehave.
package registry

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Registry is one registry. Its methods may be called while it is asked.
type Registry struct {
	// Host is 127.0.0.1:PORT: the first part of the references of what is in it. It speaks plain HTTP.
	Host string

	handler http.Handler

	mu         sync.Mutex
	server     *http.Server
	user, pass string
	asked      map[string]int // "GET manifest", "GET blob sha256:…"
	delay      time.Duration
	stalled    chan struct{} // non-nil: blobs wait until it is closed
	waiting    chan string   // receives the path of each blob that waits
	status     int           // non-zero: every answer
}

// Start listens on a free port.
func Start() (*Registry, error) {
	r := &Registry{
		handler: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))),
		asked:   map[string]int{},
		waiting: make(chan string, 1024),
	}
	return r, r.listen("127.0.0.1:0")
}

func (r *Registry) listen(addr string) error {
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return fmt.Errorf("cannot start a registry: %w", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(r.serve), ReadHeaderTimeout: 10 * time.Second}
	r.mu.Lock()
	r.server, r.Host = server, l.Addr().String()
	r.mu.Unlock()
	go func() { _ = server.Serve(l) }() // ends with Stop, which closes the listener
	return nil
}

// Stop makes the registry refuse connections, as one that is down. What is in it stays.
func (r *Registry) Stop() {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	_ = server.Close()
}

// Again listens on the same port after Stop.
func (r *Registry) Again() error { return r.listen(r.Host) }

// RequireLogin makes the registry ask for a name and a password.
func (r *Registry) RequireLogin(user, pass string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user, r.pass = user, pass
}

// Answer makes every answer this HTTP status; 0 is normal again.
func (r *Registry) Answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// Delay makes every blob wait so long.
func (r *Registry) Delay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// Stall makes blobs wait in mid-transfer until the returned function is called. A pull that waits is received from Waiting.
func (r *Registry) Stall() (goOn func()) {
	gate := make(chan struct{})
	r.mu.Lock()
	r.stalled = gate
	r.mu.Unlock()
	return sync.OnceFunc(func() {
		r.mu.Lock()
		r.stalled = nil
		r.mu.Unlock()
		close(gate)
	})
}

// Waiting receives the path of each blob that waits because of Stall.
func (r *Registry) Waiting() <-chan string { return r.waiting }

// Asked counts the requests whose "METHOD KIND DIGEST-OR-TAG" begins with prefix: "GET blob", "HEAD manifest", "GET blob sha256:12".
func (r *Registry) Asked(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for what, count := range r.asked {
		if strings.HasPrefix(what, prefix) {
			n += count
		}
	}
	return n
}

// AskedAll is a copy of all counts.
func (r *Registry) AskedAll() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.asked)
}

// Forget sets all counts to zero.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.asked)
}

// Push stores an image as HOST/path, where path is "name:tag", and returns its reference by tag and by digest.
func (r *Registry) Push(path string, img v1.Image) (tag, digest string, err error) {
	tag = r.Host + "/" + path
	ref, err := name.ParseReference(tag, name.Insecure)
	if err != nil {
		return "", "", fmt.Errorf("cannot name an image: %w", err)
	}
	r.mu.Lock()
	auth := authn.FromConfig(authn.AuthConfig{Username: r.user, Password: r.pass})
	if r.user == "" {
		auth = authn.Anonymous
	}
	r.mu.Unlock()
	if err := remote.Write(ref, img, remote.WithAuth(auth)); err != nil {
		return "", "", fmt.Errorf("cannot push %s: %w", tag, err)
	}
	d, err := img.Digest()
	if err != nil {
		return "", "", err
	}
	r.Forget()
	return tag, ref.Context().Digest(d.String()).String(), nil
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.asked[what(req)]++
	user, pass, status, delay, stalled := r.user, r.pass, r.status, r.delay, r.stalled
	r.mu.Unlock()
	if status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	if u, p, _ := req.BasicAuth(); user != "" && (u != user || p != pass) {
		w.Header().Set("WWW-Authenticate", `Basic realm="e2e"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
		if delay > 0 {
			select {
			case <-time.After(delay):
			case <-req.Context().Done():
				return
			}
		}
		if stalled != nil {
			w = &stalling{ResponseWriter: w, req: req, gate: stalled, waiting: r.waiting}
		}
	}
	r.handler.ServeHTTP(w, req)
}

// stalling lets the first bytes of a body through and then waits.
type stalling struct {
	http.ResponseWriter
	req     *http.Request
	gate    chan struct{}
	waiting chan string
	sent    bool
}

func (s *stalling) Write(p []byte) (int, error) {
	first := min(len(p), 512)
	if s.sent {
		return s.ResponseWriter.Write(p)
	}
	s.sent = true
	n, err := s.ResponseWriter.Write(p[:first])
	if err != nil {
		return n, err
	}
	if f, ok := s.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	select {
	case s.waiting <- s.req.URL.Path:
	default:
	}
	select {
	case <-s.gate:
	case <-s.req.Context().Done():
		return n, s.req.Context().Err()
	}
	rest, err := s.ResponseWriter.Write(p[first:])
	return n + rest, err
}

func what(req *http.Request) string {
	parts := strings.Split(req.URL.Path, "/")
	kind := "other"
	switch {
	case strings.Contains(req.URL.Path, "/blobs/"):
		kind = "blob"
	case strings.Contains(req.URL.Path, "/manifests/"):
		kind = "manifest"
	}
	return req.Method + " " + kind + " " + parts[len(parts)-1]
}
