package proxy

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/proxy/sockets"
)

// tcpPort is a published TCP port. Without backends its socket refuses connections, as a port that nobody has does, and keeps the address.
type tcpPort struct {
	socket *sockets.Socket
	load   *share
	choose *chooser
	trust  *forwarders
	terms  atomic.Pointer[terms]

	mu        sync.Mutex
	changed   sync.Cond // on mu
	accepting bool
	closed    bool

	served  chan struct{}  // closed when nothing is accepted any more
	leading sync.WaitGroup // connections that have no backend yet
}

// acceptPause is how long a port is left alone that could not accept for want of descriptors or memory.
const acceptPause = 10 * time.Millisecond

// newTCP makes a port that waits for its first update.
func newTCP(socket *sockets.Socket, load *load, trust *forwarders) *tcpPort {
	t := &tcpPort{socket: socket, load: load.share(), trust: trust, choose: newChooser(), served: make(chan struct{})}
	t.changed.L = &t.mu
	go t.serve()
	return t
}

// update implements port.
func (t *tcpPort) update(p *runtime.PublishedPort) error {
	t.terms.Store(termsOf(p))
	t.choose.restrict(p.Only) // first: no backend is chosen that is not to be
	t.choose.replace(p.Backends, affinity(p))
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(p.Backends) == 0 {
		t.accepting = false
		return t.socket.Refuse()
	}
	err := t.socket.Accept() // again does no harm, and who knows how the proxy before has left it
	t.accepting = err == nil
	t.changed.Broadcast()
	return err
}

// close implements port.
func (t *tcpPort) close(ctx context.Context, _ bool) {
	t.mu.Lock()
	t.closed = true
	t.changed.Broadcast()
	t.mu.Unlock()
	t.load.close()
	t.socket.Close(ctx)
	<-t.served
	t.leading.Wait()
}

// serve accepts until the port is closed.
func (t *tcpPort) serve() {
	defer close(t.served)
	for t.open() {
		if !t.load.room() {
			return
		}
		fd, from, err := t.accept()
		switch {
		case err == nil:
			t.load.take()
			t.leading.Add(1)
			go t.lead(fd, from)
		case errors.Is(err, unix.EINVAL): // it refuses: the next round waits
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR), errors.Is(err, unix.EPROTO):
		default:
			time.Sleep(acceptPause)
		}
	}
}

// open waits until the port accepts; false when it is closed.
func (t *tcpPort) open() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for !t.accepting && !t.closed {
		t.changed.Wait()
	}
	return !t.closed
}

func (t *tcpPort) accept() (fd int, from netip.AddrPort, err error) {
	var sa unix.Sockaddr
	rerr := t.socket.RawConn().Read(func(s uintptr) bool {
		fd, sa, err = unix.Accept4(int(s), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if rerr != nil {
		return -1, from, rerr
	}
	if err != nil {
		return -1, from, err
	}
	return fd, sockets.AddrPort(sa), nil
}

// lead brings one connection to a backend and carries it. When no backend answers, it is reset: the client has been accepted by the kernel
// before anybody could know.
func (t *tcpPort) lead(fd int, from netip.AddrPort) {
	defer t.load.give()
	client, backend, err := t.join(fd, from)
	t.leading.Done()
	if err == nil {
		relay(client, backend)
	}
}

func (t *tcpPort) join(fd int, from netip.AddrPort) (client, backend *conn, err error) {
	if client, err = newConn(fd); err != nil {
		return nil, nil, err
	}
	asked := client.local()
	if t.trust.has(from.Addr()) {
		f, err := client.forwarded()
		if err != nil {
			client.reset()
			return client, nil, err
		}
		if f.client.IsValid() {
			from, asked = f.client, f.to
		}
	}
	err = errNoBackend
	terms := t.terms.Load()
	if terms.allow(from.Addr()) {
		backend, err = t.choose.connect(from.Addr(), terms.shown(from.Addr(), asked.Addr()))
		if err == nil && terms.proxyProtocol > 0 {
			err = backend.begin(proxyHeader(terms.proxyProtocol, from, asked))
		}
	}
	if err != nil {
		client.reset()
	}
	return client, backend, err
}
