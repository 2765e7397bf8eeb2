package proxy

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/proxy/sockets"
)

// conn is a connected TCP socket on the runtime's poller and nothing around it: package net asks the kernel five things about each that
// nobody wants to know here.
type conn struct {
	file *os.File
	raw  syscall.RawConn
}

// newConn takes a descriptor that does not block.
func newConn(fd int) (*conn, error) {
	c := &conn{file: os.NewFile(uintptr(fd), "tcp")}
	var err error
	if c.raw, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
		return nil, err
	}
	return c, nil
}

// control acts on the descriptor, unless the connection is closed.
func (c *conn) control(f func(fd int)) { _ = c.raw.Control(func(fd uintptr) { f(int(fd)) }) }

// closeWrite passes the other side's end on: nothing more comes.
func (c *conn) closeWrite() { c.control(func(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }) }

// reset makes the coming close a reset, as the other side's was, and wakes who reads or writes.
func (c *conn) reset() {
	c.control(func(fd int) { _ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) })
	c.file.Close()
}

// local is our end's address; the zero value when the connection has ended.
func (c *conn) local() (at netip.AddrPort) {
	c.control(func(fd int) {
		if sa, err := unix.Getsockname(fd); err == nil {
			at = sockets.AddrPort(sa)
		}
	})
	return at
}

// begin sends what comes first, and is little: a connection that has just been made takes it at once. When that fails it is closed.
func (c *conn) begin(first []byte) error {
	err := errNotSent
	c.control(func(fd int) {
		var n int
		if n, err = unix.Write(fd, first); err == nil && n < len(first) {
			err = errNotSent
		}
	})
	if err != nil {
		c.reset()
	}
	return err
}

var errNotSent = errors.New("not sent")

// dialing is a connection in the making. It can be given up from elsewhere.
type dialing struct {
	generation int

	mu    sync.Mutex
	conn  *conn
	given bool
}

// errGivenUp: the backends have changed meanwhile.
var errGivenUp = errors.New("given up")

func (d *dialing) giveUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.given = true
	if d.conn != nil {
		_ = d.conn.file.SetWriteDeadline(time.Unix(1, 0)) // it only fails on a closed one
	}
}

// begin shows a connection to who may give it up; nil for none any more.
func (d *dialing) begin(c *conn, deadline time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.given {
		return errGivenUp
	}
	if d.conn = c; c == nil {
		return nil
	}
	return c.file.SetWriteDeadline(deadline)
}

// dialPatience is how long a backend may take to answer: it is on this machine and answers within a millisecond, or is cut off.
const dialPatience = 1500 * time.Millisecond

// portTries is how often a port of our own choice is tried. Below the system's range nearly every one is free.
const portTries = 32

// dial connects to a backend, as somebody or, with the zero value, as the machine.
func (d *dialing) dial(to netip.AddrPort, as netip.Addr) (*conn, error) {
	sa := sockets.Sockaddr(to)
	fd, err := beginConnect(to, sa, as, 0)
	for try := 0; errors.Is(err, errNoPort) && try < portTries; try++ {
		// The system's range of ports is used up, by connections to this backend that have ended in the last minute.
		fd, err = beginConnect(to, sa, as, 1024+rand.IntN(32768-1024))
	}
	if err != nil {
		return nil, err
	}
	c, err := newConn(fd)
	if err != nil {
		return nil, err
	}
	if err := d.connected(c, sa); err != nil {
		c.file.Close()
		return nil, err
	}
	return c, nil
}

// errNoPort: there is no port to connect from, or the one that was asked for is in use.
var errNoPort = errors.New("no port to connect from")

// beginConnect opens a socket that is connecting, from a port or, with 0, from any of the system's range.
func beginConnect(to netip.AddrPort, sa unix.Sockaddr, as netip.Addr, port int) (fd int, err error) {
	family, from := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port})
	if to.Addr().Is6() {
		family, from = unix.AF_INET6, &unix.SockaddrInet6{Port: port}
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	// Without them it works too.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, runtime.NearCongestion)
	showClient(fd, as, to)
	if port != 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		err = unix.Bind(fd, from)
	}
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	switch {
	case err == nil, errors.Is(err, unix.EINPROGRESS):
		return fd, nil
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EADDRINUSE):
		err = errNoPort
	}
	unix.Close(fd)
	return -1, err
}

// showClient makes a backend see a client's address as the source of what goes out by a socket, and has to come before the first packet. The
// socket's own address stays the machine's: a rule of the kernel's (runtime.ClientMark) puts the client's in its place and takes it back out
// of the answers, so there is nothing to be left behind. A pod cannot answer itself that way; without the rule, or the right to set it, all are
// seen as the machine.
func showClient(fd int, client netip.Addr, backend netip.AddrPort) {
	if !client.IsValid() || client == backend.Addr() || !backend.Addr().Is4() {
		return
	}
	addr := client.As4()
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, int(binary.NativeEndian.Uint32(addr[:]))) == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, runtime.ClientMark)
	}
}

// connected waits until the connection stands.
func (d *dialing) connected(c *conn, to unix.Sockaddr) error {
	if err := d.begin(c, time.Now().Add(dialPatience)); err != nil {
		return err
	}
	var err error
	werr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Connect(int(fd), to) // says how far it is
		return !errors.Is(err, unix.EALREADY) && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR)
	})
	if berr := d.begin(nil, time.Time{}); berr != nil {
		return berr
	}
	if werr != nil {
		return werr
	}
	if err != nil && !errors.Is(err, unix.EISCONN) {
		return err
	}
	return c.file.SetWriteDeadline(time.Time{})
}
