package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounds of what clients can make us hold. One pod whose questions nobody answers must not keep the others from asking.
const (
	maxWaiting, maxWaitingEach = 1000, 200
	maxStreams, maxStreamsEach = 200, 40
	// A client that keeps a connection to say nothing loses it after this time.
	streamIdle = 10 * time.Second
	// receiveBuffer holds some thousand questions that come at once; the kernel gives what it allows.
	receiveBuffer = 1 << 20
)

// ServePacket answers the questions that come by a socket, until ctx ends or the socket is closed. It returns when nothing of it runs any more.
func (s *Server) ServePacket(ctx context.Context, conn *net.UDPConn) error {
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	_ = conn.SetReadBuffer(receiveBuffer)
	packet, buf := make([]byte, tcpSize), make([]byte, 0, tcpSize)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(packet)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// The kernel is out of something. Dying would not give it back.
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		client := from.Addr().Unmap()
		if !s.mayAsk(client) {
			continue
		}
		q, code, ok := parse(packet[:n])
		if !ok {
			continue
		}
		answer, now := s.answer(&q, code, buf, s.upstream.cached)
		if now {
			_, _ = conn.WriteToUDPAddrPort(q.finish(answer, q.limit()), from)
			continue
		}
		if !s.limits.waiting.enter(client) {
			_, _ = conn.WriteToUDPAddrPort(q.finish(setCode(q.begin(buf), serverFailure), q.limit()), from)
			continue
		}
		q.raw = append([]byte(nil), q.raw...)
		waiting.Go(func() {
			defer s.limits.waiting.leave(client)
			answer, _ := s.answer(&q, code, nil, s.upstream.asker(ctx))
			_, _ = conn.WriteToUDPAddrPort(q.finish(answer, q.limit()), from)
		})
	}
}

// ServeStream answers the questions that come by connections, until ctx ends or the listener is closed. It returns when nothing of it runs any
// more. The listener stays open.
func (s *Server) ServeStream(ctx context.Context, listener *net.TCPListener) error {
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = listener.SetDeadline(time.Unix(1, 0)) })()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		client := addrOf(conn.RemoteAddr())
		if !s.mayAsk(client) || !s.limits.streams.enter(client) {
			conn.Close()
			continue
		}
		open.Go(func() {
			defer s.limits.streams.leave(client)
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			defer conn.Close()
			s.stream(ctx, conn)
		})
	}
}

// stream answers the questions of one connection, in their order, until its client has no more.
func (s *Server) stream(ctx context.Context, conn net.Conn) {
	var length [2]byte
	for {
		_ = conn.SetDeadline(time.Now().Add(streamIdle))
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		q, code, ok := parse(packet)
		if !ok {
			return
		}
		answer, _ := s.answer(&q, code, nil, s.upstream.asker(ctx))
		answer = q.finish(answer, tcpSize)
		out := append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)
		_ = conn.SetDeadline(time.Now().Add(streamIdle))
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// answer is a message for the question, without what only this client needs of it. It is false when asking others would have to wait.
func (s *Server) answer(q *question, code int, buf []byte, ask asker) ([]byte, bool) {
	if code != success {
		return setCode(q.begin(buf), code), true
	}
	return s.zone.Load().resolve(q, buf, ask)
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// limits count what clients make us hold.
type limits struct{ waiting, streams *limit }

func newLimits() *limits {
	return &limits{
		waiting: &limit{all: maxWaiting, each: maxWaitingEach, by: map[netip.Addr]int{}},
		streams: &limit{all: maxStreams, each: maxStreamsEach, by: map[netip.Addr]int{}},
	}
}

type limit struct {
	all, each int

	mu  sync.Mutex
	now int
	by  map[netip.Addr]int
}

func (l *limit) enter(client netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now >= l.all || l.by[client] >= l.each {
		return false
	}
	l.now++
	l.by[client]++
	return true
}

func (l *limit) leave(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
	if l.by[client]--; l.by[client] == 0 {
		delete(l.by, client)
	}
}
