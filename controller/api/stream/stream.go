// Package stream serves what goes on inside a pod over HTTP, as stock kubectl asks for it: its logs, programs run in its containers, the
// containers' own streams, and connections to its ports.
//
//	GET       log           text, until the end or for as long as the container runs
//	GET, POST exec, attach  WebSocket (v5.channel.k8s.io, v4.channel.k8s.io) or SPDY/3.1 (v4…v2.channel.k8s.io)
//	GET, POST portforward   SPDY/3.1 (portforward.k8s.io), bare or inside a WebSocket (SPDY/3.1+portforward.k8s.io), or a WebSocket for the ports it names (v4.channel.k8s.io)
//
// Who may ask is decided, and written down, before: whoever gets here may. GET and POST do the same, so they must be allowed to the same.
package stream

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/runtime"
)

// Pods finds the objects.
type Pods interface {
	// Pod returns a pod that nobody changes any more; false when there is none.
	Pod(namespace, name string) (*corev1.Pod, bool)
}

// Machine tells what there is of a pod on the machine. runtime.Pods has it.
type Machine interface {
	Status(ctx context.Context, uid string) (runtime.PodStatus, error)
}

// Logs reads the logs of containers.
type Logs interface {
	// ReadLog writes a log to w; with Ended it goes on as the log grows. That the limit is reached or ctx ends is no error. Nothing is
	// polled, and a follower costs no watch of its own.
	ReadLog(ctx context.Context, path string, o LogOptions, w io.Writer) error
}

// LogOptions choose what of a log is read. The zero value is all of it, text only.
type LogOptions struct {
	Tail       *int      // number of last lines to begin with; nil for all
	Since      time.Time // what is older is left out
	Timestamps bool
	Stream     string // "stdout", "stderr", "" for both
	LimitBytes int64  // 0 for no limit
	// Ended, when it is not nil, makes the reader wait for more until it is closed: what is in the log then is all.
	Ended <-chan struct{}
	// Flush is called when everything there is so far has been written.
	Flush func()
}

// Options are what a Handler works with. Pods, Machine, Events, Executor, Attacher, Forwarder and Logs are required.
type Options struct {
	Pods      Pods
	Machine   Machine
	Events    runtime.Events
	Executor  runtime.Executor
	Attacher  runtime.Attacher
	Forwarder runtime.Forwarder
	Logs      Logs
	// Now is the time that sinceSeconds counts from.
	Now func() time.Time
}

// Handler serves the subresources of pods.
type Handler struct {
	opts    Options
	changes changes
}

// New returns a handler whose Run must be running while it serves. Streams end with the context of their requests: the server's base context has to end
// before it does.
func New(opts Options) *Handler {
	return &Handler{opts: opts, changes: changes{waiting: map[string]map[chan struct{}]struct{}{}}}
}

// Run listens to what changes on the machine until ctx ends.
func (h *Handler) Run(ctx context.Context) error {
	return h.opts.Events.Events(ctx, func(e runtime.Event) { h.changes.tell(e.UID) })
}

// ServePod answers a request for a subresource of one pod.
func (h *Handler) ServePod(w http.ResponseWriter, r *http.Request, namespace, name, subresource string) {
	pod, ok := h.opts.Pods.Pod(namespace, name)
	if !ok {
		refuse(w, notFound(name))
		return
	}
	// A stream lasts as long as it lasts, whatever the server thinks of ordinary requests.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})  // not every connection has one
	_ = control.SetWriteDeadline(time.Time{}) // as above
	var err error
	switch {
	case subresource == "log" && r.Method == http.MethodGet:
		err = h.log(w, r, pod)
	case subresource == "log" || r.Method != http.MethodGet && r.Method != http.MethodPost:
		err = methodNotAllowed(r.Method, subresource)
	case subresource == "exec":
		err = h.exec(w, r, pod)
	case subresource == "attach":
		err = h.attach(w, r, pod)
	case subresource == "portforward":
		err = h.forward(w, r, pod)
	default:
		err = methodNotAllowed(r.Method, subresource)
	}
	if err != nil {
		refuse(w, err)
	}
}

// changes wakes who waits for a pod.
type changes struct {
	mu      sync.Mutex
	waiting map[string]map[chan struct{}]struct{} // by uid
}

// tell wakes everybody who waits for uid; "" is every pod.
func (c *changes) tell(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if uid == "" {
		for _, set := range c.waiting {
			wake(set)
		}
		return
	}
	wake(c.waiting[uid])
}

func wake(set map[chan struct{}]struct{}) {
	for ch := range set {
		select {
		case ch <- struct{}{}:
		default: // it has not even taken the last
		}
	}
}

// watch returns a channel that has something whenever a pod may have changed, from now on.
func (c *changes) watch(uid string) (woke <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[uid] == nil {
		c.waiting[uid] = map[chan struct{}]struct{}{}
	}
	c.waiting[uid][ch] = struct{}{}
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting[uid], ch)
		if len(c.waiting[uid]) == 0 {
			delete(c.waiting, uid)
		}
	}
}
