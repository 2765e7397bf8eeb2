// Package ingress is the HTTP server that sends requests to pods by their host and path, as networking.k8s.io/v1 Ingress says.
//
// A Server is fed whole tables by Apply; requests that are under way go on by the one they began with. What a client sends about itself in
// X-Forwarded-* is dropped, and said anew.
package ingress

import (
	"crypto/tls"
	"io"
	"log" //nolint:depguard // net/http takes its logger only; nothing is logged by it
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"berth/runtime"
)

// Bounds of what a client can make us hold. There is none for how long an answer may take, nor for the size of a body: Ingress has no
// field to change one, and some applications need either.
const (
	maxHeader = 64 << 10
	// headerPatience is for the whole head of a request: who sends it byte by byte is hung up on.
	headerPatience = 10 * time.Second
	// idlePatience is how long a connection between two requests is kept.
	idlePatience = 75 * time.Second
)

// Server sends requests on. Its methods are safe for concurrent use.
type Server struct {
	routes       atomic.Pointer[routes]
	certificates certificates
	challenges   atomic.Pointer[challenges]
	proxy        *httputil.ReverseProxy
}

// New makes a server that knows no table: it answers 404.
func New() *Server {
	s := &Server{}
	s.routes.Store(&routes{})
	s.challenges.Store(&challenges{})
	s.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: newBalancer(), ErrorHandler: failed, ErrorLog: log.New(io.Discard, "", 0),
	}
	return s
}

// Apply makes t what requests are sent by. When it returns no new one goes to a backend that is not in it. A certificate that cannot be used is
// a problem; its hosts are shown the one we make ourselves.
func (s *Server) Apply(t runtime.Traffic) []runtime.RouteProblem {
	if t.Ingress == nil {
		t.Ingress = &runtime.Ingress{}
	}
	problems := s.certificates.replace(t.Ingress.Certificates)
	s.challenges.Store(newChallenges(t.Ingress.Challenges))
	s.routes.Store(newRoutes(t.Ingress, s.routes.Load()))
	return problems
}

// HTTP is a server for one port: its Serve, or ServeTLS without files when it is secure, is to be called by the owner of the listener, and
// Shutdown to end it.
func (s *Server) HTTP(secure bool) *http.Server {
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, secure) }),
		ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(io.Discard, "", 0), Protocols: &http.Protocols{},
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true) // of clients that know it without asking: those of gRPC
	if secure {
		server.TLSConfig = s.certificates.config()
		server.TLSConfig.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return s.challenges.Load().config(hello) }
	}
	return server
}

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, secure bool) {
	if answer, ok := s.challenges.Load().answer(r); ok {
		_, _ = io.WriteString(w, answer)
		return
	}
	all := s.routes.Load()
	route := all.find(r.Host, r.URL.Path)
	switch {
	case r.Method == http.MethodConnect:
		say(w, http.StatusMethodNotAllowed)
	case route == nil:
		say(w, http.StatusNotFound)
	case route.rule.RedirectToHTTPS && !secure && all.https != 0:
		w.Header().Set("Location", all.secured(r))
		say(w, http.StatusPermanentRedirect)
	case len(route.rule.Backends) == 0:
		say(w, http.StatusServiceUnavailable)
	default:
		if r.Body != http.NoBody { // what of it comes after the answer's beginning is the backend's, too
			_ = http.NewResponseController(w).EnableFullDuplex()
		}
		s.proxy.ServeHTTP(w, r.WithContext(withRoute(r.Context(), route)))
	}
}

// say answers without a backend, plainly and short.
func say(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, http.StatusText(code)+"\n")
}
