package load

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	for name, connections := range map[string]int{"a connection each": 0, "kept": 5} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			r := Run(ctx, Config{Addr: srv.Listener.Addr().String(), Rate: 400, Connections: connections})
			if r.Failures() != 0 || r.Answered != r.Sent || r.Sent < 100 {
				t.Errorf("got %v", r)
			}
		})
	}
}

// What happens has requests before, while and after it; one that loses them all ends too.
func TestDuring(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer srv.Close()
	var before int64
	addr := srv.Listener.Addr().String()
	results := During(t.Context(), func() { before = asked.Load() }, Config{Addr: addr, Rate: 400}, Config{Addr: addr, Rate: 400, Connections: 5}, Config{Addr: "127.0.0.1:1", Rate: 400})
	if after := asked.Load() - before; before < 2*around || after < 2*around {
		t.Errorf("%d requests before and %d after, want %d", before, after, 2*around)
	}
	for i, r := range results {
		if lost := i == 2; r.Sent < 2*around || r.Failures() > 0 != lost {
			t.Error(r)
		}
	}
}

// Every way of losing a request is seen: a server that closes without a reply, with another status, late, or is not there.
func TestLossIsSeen(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"closed instead of a reply": func(w http.ResponseWriter, _ *http.Request) { hijack(w).Close() },
		"reset": func(w http.ResponseWriter, _ *http.Request) {
			c := hijack(w)
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
		},
		"status is not 200: 503 Service Unavailable": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"timed out": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
	for want, handle := range handlers {
		for name, connections := range map[string]int{"a connection each": 0, "kept": 5} {
			t.Run(want+"/"+name, func(t *testing.T) {
				var n atomic.Int64
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1)%10 == 0 {
						handle(w, r)
					}
				}))
				defer srv.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				r := Run(ctx, Config{Addr: srv.Listener.Addr().String(), Rate: 200, Connections: connections, Timeout: 200 * time.Millisecond})
				if r.Failed[want] == 0 || r.Failures()+r.Answered != r.Sent {
					t.Errorf("got %v", r)
				}
			})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if r := Run(ctx, Config{Addr: "127.0.0.1:1", Rate: 100}); r.Failed["refused"] == 0 || r.Answered != 0 {
		t.Errorf("got %v", r)
	}
}

// A kept connection that the server closes between two requests is no loss; one that announces its end is not used again.
func TestAnnouncedCloseIsNoLoss(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := n.Add(1); {
		case n%7 == 0:
			w.Header().Set("Connection", "close")
		case n%3 == 0:
			answerAndClose(w)
		}
	}))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	r := Run(ctx, Config{Addr: srv.Listener.Addr().String(), Rate: 50, Connections: 3})
	if r.Failures() != 0 || r.Answered == 0 {
		t.Errorf("got %v", r)
	}
}

// answerAndClose answers and closes without a word of warning, in one packet: on no machine is there a moment between them to ask again.
func answerAndClose(w http.ResponseWriter) {
	conn := hijack(w)
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		panic(err)
	}
	corked := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1) })
	_, written := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	if err := errors.Join(corked, err, written); err != nil {
		panic(err)
	}
}

func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := w.(http.Hijacker).Hijack() // HTTP/1 only
	if err != nil {
		panic(err)
	}
	return conn
}
