package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/publicsuffix"
)

// guard is the only way from a pull to the network. Whatever a registry answers, be it a realm, a redirect or a location, it sees to it
// that credentials reach only hosts of the registry's own domain, that plain http is spoken only where it was allowed, that nobody is
// sent to this machine or its link, and that a transfer does not hang.
type guard struct {
	at    endpoint
	stall time.Duration
	// own is used for the registry's host, kin for its domain, others for all else: certificates and trust go no further.
	own, kin, others *http.Transport
	transports       []*http.Transport
}

var _ http.RoundTripper = (*guard)(nil)

// Time limits of one connection. A registry that needs longer for any of them is not coming back.
const (
	dialTimeout      = 15 * time.Second
	handshakeTimeout = 15 * time.Second
	keepAlive        = 30 * time.Second
)

func newGuard(at endpoint, own *tls.Config, stall time.Duration) *guard {
	g := &guard{at: at, stall: stall}
	g.own, g.others = g.transport(own), g.transport(nil)
	g.kin = g.others
	if own != nil && own.RootCAs != nil {
		g.kin = g.transport(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: own.RootCAs})
	}
	return g
}

func (g *guard) transport(cfg *tls.Config) *http.Transport {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           g.dial,
		TLSClientConfig:       cfg,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   parallel,
		IdleConnTimeout:       keepAlive,
		TLSHandshakeTimeout:   handshakeTimeout,
		ExpectContinueTimeout: time.Second,
	}
	g.transports = append(g.transports, t)
	return t
}

// close ends idle connections: a quiet machine has none.
func (g *guard) close() {
	for _, t := range g.transports {
		t.CloseIdleConnections()
	}
}

// errRefused is what the guard answers; trying again gives the same.
var errRefused = errors.New("refused")

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.check(req); err != nil {
		return nil, err
	}
	if g.at.namespace != "" && req.URL.Host == g.at.host && strings.HasPrefix(req.URL.Path, "/v2/") && len(req.URL.Path) > len("/v2/") {
		req = req.Clone(req.Context())
		query := req.URL.Query()
		query.Set("ns", g.at.namespace)
		req.URL.RawQuery = query.Encode()
	}
	return g.watched(req)
}

func (g *guard) check(req *http.Request) error {
	host := req.URL.Host
	plain := req.URL.Scheme == "http" && g.at.plain && (host == g.at.host || sameDomain(host, g.at.host))
	if req.URL.Scheme != "https" && !plain {
		return fmt.Errorf("%w: %s wants to be reached by plain %s; allow it with an http:// endpoint in the registries file", errRefused, host, req.URL.Scheme)
	}
	secret := strings.HasPrefix(req.Header.Get("Authorization"), "Basic ") || req.Method == http.MethodPost
	if secret && !sameDomain(host, g.at.host) {
		return fmt.Errorf("%w: registry %s wants its credentials to be sent to %s, which is not of its domain", errRefused, g.at.host, host)
	}
	return nil
}

// watched sends a request and ends it when nothing arrives any more.
func (g *guard) watched(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	stalled := fmt.Errorf("registry %s sent nothing for %s: %w", req.URL.Host, g.stall, errStalled)
	timer := time.AfterFunc(g.stall, func() { cancel(stalled) })
	t := g.others
	switch {
	case req.URL.Host == g.at.host:
		t = g.own
	case sameDomain(req.URL.Host, g.at.host):
		t = g.kin
	}
	resp, err := t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		timer.Stop()
		if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	timer.Stop()
	resp.Body = &watchedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, timer: timer, stall: g.stall}
	return resp, nil
}

// errStalled means that a transfer was given up because nothing arrived.
var errStalled = errors.New("transfer stalled")

type watchedBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // it is the request's, which ends with the body
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.stall)
	n, err := b.ReadCloser.Read(p)
	// Between two reads the layer is being unpacked, which is not the registry's fault.
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// dial connects. Only the registry that the user named, and a proxy, may be this machine or on its link.
func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	if !g.trusted(address) {
		d.Control = func(_, actual string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(actual)
			if err != nil {
				return err
			}
			ip := to.Addr().Unmap()
			if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
				return fmt.Errorf("%w: registry %s leads to %s, an address of this machine", errRefused, g.at.host, actual)
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, address)
}

func (g *guard) trusted(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == hostname(g.at.host) || isLoopback(g.at.host) {
		return true
	}
	for _, scheme := range []string{"http", "https"} {
		req, err := http.NewRequest(http.MethodGet, scheme+"://"+g.at.host, nil) //nolint:noctx // it is not sent
		if err != nil {
			continue
		}
		if proxy, err := http.ProxyFromEnvironment(req); err == nil && proxy != nil && proxy.Hostname() == host {
			return true
		}
	}
	return false
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

func isLoopback(host string) bool {
	name := hostname(host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// sameDomain says whether two hosts belong to one owner: the same host, or the same domain below a public suffix.
func sameDomain(a, b string) bool {
	a, b = strings.ToLower(hostname(a)), strings.ToLower(hostname(b))
	if a == b {
		return true
	}
	if _, err := netip.ParseAddr(a); err == nil {
		return false
	}
	domainA, errA := publicsuffix.EffectiveTLDPlusOne(a)
	domainB, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && domainA == domainB
}
