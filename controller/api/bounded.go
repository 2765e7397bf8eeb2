package api

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// maxConnections bounds the connections of a listener: room for all that lasts and all that is under way, and not enough to take descriptors or memory from the
// controller, whose process this is.
const maxConnections = 1500

// Bounded lets so many connections in at a time. When there are more, the one goes that has been silent for the longest: one that has not yet shown who
// it is, or else one whose client may ask again. So nobody keeps others out by connecting, without a certificate least of all.
func Bounded(l net.Listener) net.Listener {
	most := maxConnections
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		most = min(most, int(min(limit.Cur, 1<<20))/8)
	}
	return &bounded{Listener: l, most: max(most, 16)}
}

type bounded struct {
	net.Listener
	most int

	mu   sync.Mutex
	open int
	// fresh have not shown who they are, idle wait for their next request; who came first is in front.
	fresh, idle list.List
}

// boundedConn is a connection that counts until it is closed.
type boundedConn struct {
	net.Conn
	l  *bounded
	in *list.List // nil while a request is under way
	at *list.Element
	// closed is guarded by l.mu, as the others are.
	closed bool
}

// Accept implements net.Listener.
func (l *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &boundedConn{Conn: conn, l: l}
		if out := l.enter(c); out != nil {
			_ = out.Close() // its client comes again
			if out == c {
				continue
			}
		}
		return c, nil
	}
}

// enter counts a connection, and names the one that has to go for it; itself, when all others are busy.
func (l *bounded) enter(c *boundedConn) (out *boundedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most {
		out = c
		for _, from := range []*list.List{&l.fresh, &l.idle} {
			if first := from.Front(); first != nil {
				out, _ = first.Value.(*boundedConn)
				break
			}
		}
	}
	l.open++
	c.move(&l.fresh)
	return out
}

// move enters a connection in another list. l.mu is held.
func (c *boundedConn) move(to *list.List) {
	if c.in != nil {
		c.in.Remove(c.at)
	}
	if c.in = to; to != nil {
		c.at = to.PushBack(c)
	}
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.l.mu.Lock()
	if !c.closed {
		c.closed = true
		c.l.open--
		c.move(nil)
	}
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// stateChanged follows what connections do: it is a http.Server's ConnState.
func stateChanged(conn net.Conn, state http.ConnState) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, ok := conn.(*boundedConn)
	if !ok {
		return
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	switch {
	case c.closed || state == http.StateNew:
	case state == http.StateIdle:
		c.move(&c.l.idle)
	default:
		c.move(nil)
	}
}
