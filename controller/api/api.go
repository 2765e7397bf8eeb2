// Package api answers kubectl. It serves the store of one berth in the words of the Kubernetes API: the same paths, kinds, errors and watches, so that the stock
// client and the tools people use beside it feel at home.
//
// A Request is an HTTP request whose path has been understood: a verb on a Resource, perhaps on a subresource of it. What is done about it stands in a
// table of handlers by verb, resource and subresource; other packages enter theirs with Handle before the server runs. A handler writes its answer, or returns
// an error, which is answered as a metav1.Status.
package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"berth/controller/store"
)

// Options of a server. Store is required.
type Options struct {
	// Store has the objects. The server must be made before the store's first change.
	Store *store.Store
	Clock clock.WithDelayedExecution
	Log   logr.Logger
	// Version is berth's own.
	Version string
	// Meter measures for `kubectl top`; nil where nobody can.
	Meter Meter
	// RefreshNode makes the Node object say how the machine is now; nil when nobody can. It is asked before the node is read: nothing looks at the machine meanwhile.
	RefreshNode func(context.Context) error
}

// Handler answers one request, or returns an error and has written nothing.
type Handler func(w http.ResponseWriter, r *Request) error

// Server answers requests. It is safe for concurrent use once it serves.
type Server struct {
	opts     Options
	registry *registry
	handlers map[route]Handler
	history  *history
	program  string        // tells one build from another
	busy     chan struct{} // one for each request under way
	lasting  chan struct{} // one for each that goes on
	samples  samples
}

// route names what a handler is for.
type route struct{ verb, resource, subresource string }

// New makes a server that knows how to read; what writes is entered with Handle.
func New(opts Options) *Server {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.Log.GetSink() == nil {
		opts.Log = logr.Discard()
	}
	s := &Server{opts: opts, registry: newRegistry(), handlers: map[route]Handler{}, history: newHistory(opts.Store, opts.Clock), program: programMark(), busy: make(chan struct{}, maxBusy), lasting: make(chan struct{}, maxLasting)}
	s.samples.last = map[string]sample{}
	s.Handle("get", "*", "", s.get)
	s.Handle("list", "*", "", s.list)
	s.Handle("watch", "*", "", s.watch)
	s.Handle("create", "serviceaccounts", "token", s.token)
	s.reviews()
	s.components()
	for _, verb := range []string{"get", "list"} {
		s.Handle(verb, "nodes", "", s.refreshed(s.handlers[route{verb, "*", ""}]))
	}
	return s
}

// refreshed answers after the node has been looked at.
func (s *Server) refreshed(h Handler) Handler {
	return func(w http.ResponseWriter, r *Request) error {
		if s.opts.RefreshNode != nil {
			if err := s.opts.RefreshNode(r.Context()); err != nil {
				return err
			}
		}
		return h(w, r)
	}
}

// Handle enters the handler of a verb on a resource's or subresource's name; resource "*" is for all that have no handler of their own. Verbs are those of RBAC: get
// list watch create update patch delete deletecollection, and connect for what takes the connection over (exec, attach, portforward), by GET or POST.
// It must not be called once the server serves.
func (s *Server) Handle(verb, resource, subresource string, h Handler) {
	s.handlers[route{verb, resource, subresource}] = h
}

// Store is where the objects are.
func (s *Server) Store() *store.Store { return s.opts.Store }

// Resource finds a resource that is served by its group, version and plural name.
func (s *Server) Resource(group, version, name string) (*Resource, bool) {
	r := s.registry.byName[resourceName{group, version, name}]
	return r, r != nil
}

// ServeHTTP answers one request of a user who has been let in: see Serve.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	w.Header().Set("Cache-Control", "no-cache, private")
	if err := s.serve(w, hr); err != nil { //nolint:contextcheck // the request carries it
		s.fail(w, hr, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, hr *http.Request) error {
	segments, err := pathSegments(hr.URL)
	if err != nil {
		return err
	}
	r, err := s.registry.route(hr, segments)
	if err != nil {
		return err
	}
	if r == nil {
		return s.serveOther(w, hr, segments)
	}
	if r.Resource.Group == metricsGroup && r.Resource.serves(r.Verb, r.Subresource) {
		return s.metrics(w, r)
	}
	h := s.handlers[route{r.Verb, r.Resource.Name, r.Subresource}]
	if h == nil {
		h = s.handlers[route{r.Verb, "*", r.Subresource}]
	}
	nowhere := r.Resource.Namespaced && r.Namespace == "" && (r.Verb == "create" || r.Verb == "deletecollection") // all namespaces are read at once, and not written
	if h == nil || nowhere || !r.Resource.serves(r.Verb, r.Subresource) {
		return errNotAllowed(r)
	}
	s.audit(r)
	if text := deprecated[r.Resource.Name]; text != "" {
		warn(w, text)
	}
	return h(w, r)
}

// deprecated are the resources that Kubernetes warns of, each time they are asked for.
var deprecated = map[string]string{
	"componentstatuses": "v1 ComponentStatus is deprecated in v1.19+",
	"endpoints":         "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}

// audit logs what hands out secrets or enters pods. Of a program only the name is told: arguments may be secrets themselves.
func (s *Server) audit(r *Request) {
	secrets := r.Resource.Name == "secrets" && (r.Verb == "get" || r.Verb == "list" || r.Verb == "watch")
	if !secrets && r.Verb != "connect" {
		return
	}
	words := []any{"user", r.User().Name, "verb", r.Verb, "resource", strings.TrimSuffix(r.Resource.Name+"/"+r.Subresource, "/"), "object", r.Namespace + "/" + r.Name}
	if c := r.Query.Get("container"); c != "" {
		words = append(words, "container", c)
	}
	if c := r.Query.Get("command"); c != "" {
		words = append(words, "program", c)
	}
	s.opts.Log.WithName("audit").Info("allowed", words...)
}

// userKey is where the context of a request has its User.
type userKey struct{}

// UserOf is who asks.
func UserOf(ctx context.Context) User {
	u, _ := ctx.Value(userKey{}).(User)
	return u
}

// User is who a connection belongs to.
type User struct {
	Name   string
	Groups []string
}
