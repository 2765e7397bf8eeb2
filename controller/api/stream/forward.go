package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/moby/spdystream"
	corev1 "k8s.io/api/core/v1"
)

const (
	protocolForward = "portforward.k8s.io"
	protocolTunnel  = spdyVersion + "+" + protocolForward
	headerPort      = "Port"
	headerRequest   = "Requestid" // as http.Header spells it
	typeData        = "data"
	dialTime        = 30 * time.Second
)

// forward connects the client to ports of a pod. Each connection is a pair of streams with one request id: data, and what went wrong.
func (h *Handler) forward(w http.ResponseWriter, r *http.Request, pod *corev1.Pod) error {
	if pod.Status.Phase != corev1.PodRunning {
		return badRequest("unable to forward port because pod is not running. Current status=%v", pod.Status.Phase)
	}
	ctx, gone := context.WithCancel(r.Context())
	defer gone()
	f := &forwarding{pairs: map[string]*pair{}, dial: func(ctx context.Context, port uint16) (net.Conn, error) {
		return h.opts.Forwarder.Forward(ctx, string(pod.UID), "tcp", port)
	}, name: pod.Name}
	if speaksChannels(r) {
		return f.connectPorts(ctx, w, r)
	}
	raw, err := openForward(w, r)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	if _, err := serveSPDY(ctx, raw, gone, func(s *spdystream.Stream) { f.accept(ctx, s) }); err != nil {
		return nil // the request has been answered already: nobody to tell
	}
	<-ctx.Done()
	_ = raw.Close() // ends every stream
	f.under.Wait()
	return nil
}

// openForward takes a connection over, bare or out of a WebSocket.
func openForward(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	if websocket.IsWebSocketUpgrade(r) {
		conn, err := upgrade(w, r, protocolTunnel)
		if err != nil {
			return nil, err
		}
		return &tunnel{Conn: conn}, nil
	}
	protocol, err := negotiate(w, r, protocolForward)
	if err != nil {
		return nil, err
	}
	return upgradeSPDY(w, r, protocol)
}

// forwarding is one client and its connections.
type forwarding struct {
	name  string
	dial  func(ctx context.Context, port uint16) (net.Conn, error)
	under sync.WaitGroup

	mu    sync.Mutex
	pairs map[string]*pair // that are not complete, by request
}

// pair is one connection.
type pair struct{ data, fault *spdystream.Stream }

// maxHalfPairs is how many connections may lack a stream at a time.
const maxHalfPairs = 1024

// accept takes a stream, and connects when it is the second of its pair.
func (f *forwarding) accept(ctx context.Context, s *spdystream.Stream) {
	port, err := strconv.ParseUint(s.Headers().Get(headerPort), 10, 16)
	if err != nil || port == 0 {
		_ = s.Reset() // no port, no connection
		return
	}
	id := s.Headers().Get(headerRequest)
	f.mu.Lock()
	p := f.pairs[id]
	if p == nil {
		p = &pair{}
	}
	place := &p.fault
	if s.Headers().Get(headerType) == typeData {
		place = &p.data
	}
	if id == "" || *place != nil || len(f.pairs) >= maxHalfPairs {
		f.mu.Unlock()
		_ = s.Reset() // not the protocol
		return
	}
	*place = s
	if p.data == nil || p.fault == nil {
		f.pairs[id] = p
		f.mu.Unlock()
		return
	}
	delete(f.pairs, id)
	f.mu.Unlock()
	f.under.Go(func() { f.connect(ctx, p, uint16(port)) })
}

// connect carries one connection until both directions have ended.
func (f *forwarding) connect(ctx context.Context, p *pair, port uint16) {
	dialing, cancel := context.WithTimeout(ctx, dialTime)
	conn, err := f.dial(dialing, port)
	cancel()
	if err == nil {
		err = carry(ctx, p.data, conn)
	}
	if err != nil && ctx.Err() == nil {
		_, _ = fmt.Fprintf(p.fault, "error forwarding port %d to pod %s: %v", port, f.name, err)
		_ = p.data.Reset() // tells that this was not an ordinary end
	}
	_ = p.data.Close()
	_ = p.fault.Close()
}

// carry copies both ways. The end of one direction is handed on and leaves the other open.
func carry(ctx context.Context, client *spdystream.Stream, conn net.Conn) error {
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(conn, client) // when it breaks, the other direction tells
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // as above
		}
	}()
	_, err := io.Copy(client, conn)
	_ = client.Close() // no more comes from the pod
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	// The pod may go on reading what the client goes on sending; a connection that it has closed for good refuses that.
	select {
	case <-sent:
	case <-ctx.Done():
	}
	return nil
}
