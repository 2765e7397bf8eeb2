package proxy

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/proxy/sockets"
)

// udpPort is a published UDP port. Each client has a session: a socket of its own to one backend, for as long as something goes by it. Without
// backends the kernel answers that nobody is there.
type udpPort struct {
	socket *sockets.Socket
	in     syscall.RawConn
	six    bool
	load   *share
	choose *chooser
	terms  atomic.Pointer[terms]
	idle   idleness
	most   int // sessions
	served chan struct{}

	// Answers go out by a duplicate, which a proxy that has let go of the port keeps until its last session has ended.
	out    *os.File
	outRaw syscall.RawConn

	mu       sync.Mutex
	sessions map[peers]*session
	closed   bool
}

// peers are a client and the address of ours that it has asked.
type peers struct {
	client netip.AddrPort
	local  netip.Addr
}

const (
	// datagramSize is the largest datagram that there is.
	datagramSize = 1 << 16
	// sessionsMost bounds what one port makes us hold: senders of datagrams can be forged. Each is some 10 KB.
	sessionsMost = 1 << 14
)

// newUDP makes a port that has no backends yet.
func newUDP(socket *sockets.Socket, load *load, idle idleness) (*udpPort, error) {
	out, err := socket.Duplicate()
	if err != nil {
		return nil, err
	}
	u := &udpPort{
		socket: socket, in: socket.RawConn(), six: socket.Six(), load: load.share(), choose: newChooser(), idle: idle, most: sessionsMost, served: make(chan struct{}), out: out,
		sessions: map[peers]*session{},
	}
	u.terms.Store(&terms{})
	if u.outRaw, err = out.SyscallConn(); err != nil {
		out.Close()
		return nil, err
	}
	go u.serve()
	return u, nil
}

// update implements port.
func (u *udpPort) update(p *runtime.PublishedPort) error {
	u.terms.Store(termsOf(p))
	u.choose.restrict(p.Only) // first: no backend is chosen that is not to be
	u.choose.replace(p.Backends, affinity(p))
	err := u.socket.Receive(len(p.Backends) > 0)
	u.mu.Lock()
	defer u.mu.Unlock()
	for at, s := range u.sessions {
		if !slices.Contains(p.Backends, s.backend) { // what it still answers comes through; what is asked from now on goes elsewhere
			delete(u.sessions, at)
		}
	}
	return err
}

// close implements port.
func (u *udpPort) close(ctx context.Context, leaving bool) {
	u.socket.Close(ctx)
	<-u.served
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if !leaving {
		u.out.Close() // now: the address is to be free
		for _, s := range u.sessions {
			s.file.Close()
		}
	}
	if len(u.sessions) == 0 {
		u.out.Close()
	}
}

// serve reads datagrams until the port is closed.
func (u *udpPort) serve() {
	defer close(u.served)
	buf, oob := make([]byte, datagramSize), make([]byte, 128)
	for {
		var n, oobn int
		var from unix.Sockaddr
		var err error
		rerr := u.in.Read(func(fd uintptr) bool {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, oob, unix.MSG_DONTWAIT)
			return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		})
		if rerr != nil {
			return
		}
		if err != nil { // an answer that could not be delivered
			continue
		}
		at := peers{sockets.AddrPort(from), localAddr(oob[:oobn])}
		if !at.client.IsValid() || !u.terms.Load().allow(at.client.Addr()) {
			continue
		}
		if s := u.session(at); s != nil {
			s.send(buf[:n])
		}
	}
}

// session is that of a client, a new one when it has none; nil when there is nobody to send to, or no room.
func (u *udpPort) session(at peers) *session {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s := u.sessions[at]; s != nil {
		return s
	}
	if u.load.full() {
		return nil
	}
	if len(u.sessions) >= u.most {
		for old, s := range u.sessions { // any one goes: it begins anew when its client is still there
			delete(u.sessions, old)
			s.file.Close()
			break
		}
	}
	backend, ok := u.choose.pick(at.client.Addr())
	if !ok {
		return nil
	}
	s, err := newSession(u, at, backend)
	if err != nil {
		return nil
	}
	u.sessions[at] = s
	u.load.take()
	go s.serve()
	return s
}

// ended forgets a session.
func (u *udpPort) ended(s *session) {
	u.load.give()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sessions[s.at] == s {
		delete(u.sessions, s.at)
	}
	if u.closed && len(u.sessions) == 0 {
		u.out.Close()
	}
}

// answer sends a datagram to a client, from the address that it has asked.
func (u *udpPort) answer(at peers, data []byte) {
	oob, to := pktinfo(at.local), u.sockaddr(at.client)
	_ = u.outRaw.Control(func(fd uintptr) { // a datagram that does not get out is lost, as datagrams are
		_, _ = unix.SendmsgN(int(fd), data, oob, to, unix.MSG_DONTWAIT)
	})
}

func (u *udpPort) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if u.six && a.Addr().Is4() {
		a = netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	return sockets.Sockaddr(a)
}
