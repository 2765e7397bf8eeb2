package api

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/yaml"

	"berth/controller/store"
)

// pipes is a listener in memory, so that a test waits for nothing.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// Clients that say what they want one byte a second are sent away, each within the time that is given for it.
func TestSlowClients(t *testing.T) {
	dir := t.TempDir()
	begin := func(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }
	drip := func(conn net.Conn) {
		for {
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	const post = "POST /api/v1/namespaces/shop/configmaps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
	tests := map[string]struct {
		plain  bool
		send   func(net.Conn)
		within time.Duration
	}{
		"silent":                  {true, func(net.Conn) {}, headerPatience},
		"half a handshake":        {true, func(c net.Conn) { begin(c, "\x16\x03\x01\x02\x00"); drip(c) }, headerPatience},
		"no request":              {false, func(net.Conn) {}, headerPatience},
		"a head":                  {false, func(c net.Conn) { begin(c, "GET /api HTTP/1.1\r\nX: "); drip(c) }, headerPatience},
		"a body":                  {false, func(c net.Conn) { begin(c, post+"\r\n"); drip(c) }, bodyPatience},
		"a body of a web page":    {false, func(c net.Conn) { begin(c, post+"Origin: https://evil.example\r\n\r\n"); drip(c) }, bodyPatience},
		"nothing after a request": {false, func(c net.Conn) { begin(c, "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n") }, idlePatience},
		"a body that nobody wants": {false, func(c net.Conn) {
			begin(c, "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
			drip(c)
		}, bodyPatience},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				creds, err := makeCredentials(dir, time.Now(), 1)
				if err != nil {
					t.Fatal(err)
				}
				st, err := store.Open(store.Options{})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				served := make(chan error, 1)
				go func() { served <- New(Options{Store: st}).Serve(ctx, creds.listener(p)) }()
				conn := p.dial()
				if !tt.plain {
					conn = tls.Client(conn, clientOf(t, dir))
				}
				began := time.Now()
				var sending sync.WaitGroup
				sending.Go(func() { tt.send(conn) })
				_, err = io.Copy(io.Discard, conn)
				if took := time.Since(began); took > tt.within+time.Second {
					t.Errorf("sent away after %v (%v), want %v", took, err, tt.within)
				}
				conn.Close()
				sending.Wait()
				cancel()
				if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
					t.Errorf("Serve: %v", err)
				}
			})
		})
	}
}

// clientOf is what a kubeconfig gives a client.
func clientOf(t *testing.T, dir string) *tls.Config {
	t.Helper()
	var k kubeconfig
	data, err := os.ReadFile(filepath.Join(dir, Kubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(k.Users[0].User.Certificate, k.Users[0].User.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}} //nolint:gosec // who is asked is not the question here
}

// When there are more connections than there is room for, those go that nobody would miss.
func TestBounded(t *testing.T) {
	p := &pipes{conns: make(chan net.Conn, 10), done: make(chan struct{})}
	l := &bounded{Listener: p, most: 3}
	next := func() *boundedConn {
		t.Helper()
		p.conns <- discarded{}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c.(*boundedConn)
	}
	open := func(conns ...*boundedConn) string {
		var b strings.Builder
		for i, c := range conns {
			if !c.closed {
				b.WriteByte(byte('a' + i))
			}
		}
		return b.String()
	}
	a, b, c := next(), next(), next()
	stateChanged(a, http.StateActive)
	d := next()
	if got := open(a, b, c, d); got != "acd" {
		t.Errorf("open %q, want acd: the oldest that has not said a word goes", got)
	}
	stateChanged(c, http.StateActive)
	stateChanged(c, http.StateIdle)
	stateChanged(d, http.StateActive)
	e := next()
	if got := open(a, b, c, d, e); got != "ade" {
		t.Errorf("open %q, want ade: one that waits for its next request goes", got)
	}
	stateChanged(e, http.StateActive)
	f := &boundedConn{Conn: discarded{}, l: l}
	if out := l.enter(f); out != f {
		t.Error("one that is busy goes")
	}
	_ = f.Close()
	for _, c := range []*boundedConn{a, d, e, e} {
		_ = c.Close()
	}
	if l.open != 0 || l.fresh.Len() != 0 || l.idle.Len() != 0 {
		t.Errorf("%d open, %d fresh, %d idle after the end", l.open, l.fresh.Len(), l.idle.Len())
	}
}

// discarded is a connection that is only closed.
type discarded struct{ net.Conn }

func (discarded) Close() error { return nil }
