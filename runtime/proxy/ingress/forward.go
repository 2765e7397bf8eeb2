package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"berth/runtime"
)

type routeKey struct{}

func withRoute(ctx context.Context, r *route) context.Context {
	return context.WithValue(ctx, routeKey{}, r)
}

// Patience with backends: they are on this machine, and answer within a millisecond or are cut off. One that may end an idle connection does
// so just when a request is on its way: those of gunicorn after two seconds, of Node.js after five. So we end it earlier.
const (
	dialPatience = 1500 * time.Millisecond
	idleBackend  = time.Second
	// maxIdle are connections kept for one backend.
	maxIdle = 128
)

// rewrite is the request as the backend gets it. Hop-by-hop headers are gone already, and so are Forwarded and X-Forwarded-{For,Host,Proto}.
func rewrite(r *httputil.ProxyRequest) {
	for name := range r.Out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" {
			delete(r.Out.Header, name)
		}
	}
	r.SetXForwarded()
	if client, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		r.Out.Header.Set("X-Real-Ip", client)
	}
	if at, ok := r.In.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		r.Out.Header.Set("X-Forwarded-Port", strconv.Itoa(at.Port))
	}
	r.Out.URL.Scheme, r.Out.URL.Host = "http", "backend" // the balancer says which
	r.Out.Host = r.In.Host
	// The address as it came: what a ';', a '%' or a '|' in it means is for the backend to say.
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	if raw, _, _ := strings.Cut(r.In.RequestURI, "?"); raw != r.Out.URL.EscapedPath() && strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//") {
		r.Out.URL.Opaque = raw
	}
}

// balancer sends a request to the first backend that takes it.
type balancer struct {
	by map[runtime.BackendProtocol]*http.Transport
}

func newBalancer() *balancer {
	dialer := &net.Dialer{Timeout: dialPatience, KeepAlive: 30 * time.Second}
	b := &balancer{by: map[runtime.BackendProtocol]*http.Transport{}}
	for _, p := range []runtime.BackendProtocol{runtime.BackendHTTP, runtime.BackendH2C, runtime.BackendHTTPS} {
		speaks := &http.Protocols{}
		speaks.SetHTTP1(p != runtime.BackendH2C)
		speaks.SetHTTP2(p == runtime.BackendHTTPS)
		speaks.SetUnencryptedHTTP2(p == runtime.BackendH2C)
		b.by[p] = &http.Transport{
			DialContext: dialer.DialContext, DisableCompression: true, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleBackend,
			ExpectContinueTimeout: time.Second, MaxResponseHeaderBytes: 1 << 20, Protocols: speaks,
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a pod's certificate is signed by nobody, and is for a name
			TLSHandshakeTimeout: 10 * time.Second,
		}
	}
	return b
}

// RoundTrip implements http.RoundTripper. Only what was not sent is sent to another backend: a request that a backend may have begun to work
// on is not repeated.
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	route, ok := req.Context().Value(routeKey{}).(*route)
	if !ok {
		return nil, errors.New("a request without a route")
	}
	body := req.Body // its owner closes it: some answers begin before it ends
	transport := b.by[route.rule.Protocol]
	if transport == nil {
		return nil, fmt.Errorf("nobody speaks %s here", route.rule.Protocol)
	}
	var last error
	for _, at := range route.order() {
		out := *req
		u := *req.URL
		if u.Host = at.String(); route.rule.Protocol == runtime.BackendHTTPS {
			u.Scheme = "https"
		}
		out.URL = &u
		if body != nil && body != http.NoBody {
			out.Body = sent{body} // a try that failed must not close it
		}
		answer, err := transport.RoundTrip(&out)
		if err == nil || !notSent(err) || req.Context().Err() != nil {
			return answer, err
		}
		last = err
	}
	return nil, last
}

// notSent tells whether there was no connection to send anything by.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// sent is a body on its way to a backend, which its owner closes.
type sent struct{ io.Reader }

// Close implements io.Closer.
func (sent) Close() error { return nil }

// Read implements io.Reader, and tells what a client did wrong from what a backend did.
func (s sent) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreadableError{err}
	}
	return n, err
}

// unreadableError is of a body that the client does not send as it should.
type unreadableError struct{ error }

// failed answers a request that no backend has answered.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
	if unreadable := (unreadableError{}); errors.As(err, &unreadable) {
		say(w, http.StatusBadRequest)
		return
	}
	say(w, http.StatusBadGateway)
}
