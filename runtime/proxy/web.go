package proxy

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"

	"berth/runtime"
	"berth/runtime/proxy/ingress"
	"berth/runtime/proxy/sockets"
	"berth/runtime/proxy/table"
)

// web serves the HTTP ports of Ingress.
type web struct {
	sockets *sockets.Set
	load    *load
	server  *ingress.Server
	trust   forwarders

	mu   sync.Mutex
	open map[place]*webPort
}

type webPort struct {
	socket *sockets.Socket
	server *http.Server
}

func newWeb(set *sockets.Set, load *load) *web {
	return &web{sockets: set, load: load, server: ingress.New(), open: map[place]*webPort{}}
}

// apply implements part.
func (w *web) apply(ctx context.Context, t *table.Table) []runtime.RouteProblem {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trust.set(t.Forwarders)
	problems := w.server.Apply(t.Traffic)
	wanted := map[place]bool{} // whether it is HTTPS
	if t.Ingress != nil {
		for port, secure := range map[uint16]bool{t.Ingress.HTTP: false, t.Ingress.HTTPS: true} {
			for _, at := range places(&runtime.PublishedPort{Protocol: runtime.TCP, Port: port}) {
				if port != 0 {
					wanted[at] = secure
				}
			}
		}
	}
	for at, p := range w.open {
		if _, ok := wanted[at]; !ok {
			p.close(ctx)
			delete(w.open, at)
		}
	}
	for at, secure := range wanted {
		if w.open[at] != nil {
			continue
		}
		p, err := w.listen(ctx, at, secure)
		switch {
		case err == nil:
			w.open[at] = p
		case !at.needless(err):
			for _, owner := range owners(t.Ingress) {
				problems = append(problems, problem(at, &runtime.PublishedPort{Owner: owner, Protocol: runtime.TCP, Port: at.addr.Port()}, err))
			}
		}
	}
	return problems
}

func (w *web) listen(ctx context.Context, at place, secure bool) (*webPort, error) {
	socket, err := w.sockets.Open(ctx, at.network, at.addr)
	if err != nil {
		return nil, err
	}
	if err := socket.Accept(); err != nil { // it may be what a published port before has left refusing
		socket.Close(ctx)
		return nil, err
	}
	listener, err := socket.Listener()
	if err != nil {
		socket.Close(ctx)
		return nil, err
	}
	p := &webPort{socket: socket, server: w.server.HTTP(secure)}
	go func() { // ends with the listener
		if listener = (&forwardedListener{&counted{listener, w.load.share()}, &w.trust}); secure {
			_ = p.server.ServeTLS(listener, "", "")
		} else {
			_ = p.server.Serve(listener)
		}
	}()
	return p, nil
}

// close frees the address, or leaves it to another process. Requests that are under way are answered; connections that were upgraded live on.
func (p *webPort) close(ctx context.Context) {
	done, stop := context.WithCancel(ctx)
	stop() // it closes the listener and idle connections at once, and does not wait for the others, which end by themselves
	_ = p.server.Shutdown(done)
	p.socket.Close(ctx)
}

// close implements part.
func (w *web) close(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, p := range w.open {
		p.close(ctx)
		delete(w.open, at)
	}
}

// owners are those who lose by a port that is not open.
func owners(t *runtime.Ingress) []string {
	var out []string
	for i := range t.Rules {
		out = append(out, t.Rules[i].Owner)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// counted is a listener whose connections are part of the load.
type counted struct {
	net.Listener
	load *share
}

// Accept implements net.Listener.
func (l *counted) Accept() (net.Conn, error) {
	if !l.load.room() {
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.load.take()
	return &countedConn{Conn: conn, load: l.load}, nil
}

// Close implements net.Listener.
func (l *counted) Close() error {
	l.load.close()
	return l.Listener.Close()
}

type countedConn struct {
	net.Conn
	load *share
	once sync.Once
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.once.Do(c.load.give)
	return c.Conn.Close()
}
