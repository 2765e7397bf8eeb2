package proxy

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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

// dial connects to a backend.
func (d *dialing) dial(to netip.AddrPort) (*conn, error) {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// Without them it works too.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	sa := sockets.Sockaddr(to)
	err = unix.Connect(fd, sa)
	if errors.Is(err, unix.EADDRNOTAVAIL) { // the system's range of ports is used up by connections that have ended a moment ago
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, 65535<<16|1024) // from Linux 6.3 on
		err = unix.Connect(fd, sa)
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return nil, err
	}
	c, cerr := newConn(fd)
	if cerr != nil {
		return nil, cerr
	}
	if err == nil {
		return c, nil
	}
	if err := d.connected(c, sa); err != nil {
		c.file.Close()
		return nil, err
	}
	return c, nil
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
