package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// forwarders are whose connections begin with a header of the PROXY protocol: who connects to them is their client. Whoever else sends one is not
// believed, and it is data like any other.
type forwarders struct {
	list atomic.Pointer[[]netip.Prefix]
}

func (f *forwarders) set(list []netip.Prefix) { f.list.Store(&list) }

func (f *forwarders) has(a netip.Addr) bool {
	if list := f.list.Load(); list != nil {
		for _, p := range *list {
			if p.Contains(a) {
				return true
			}
		}
	}
	return false
}

// forwarded is whom a connection is from and where it was made to; the zero value for the forwarder's own, as its health checks are.
type forwarded struct{ client, to netip.AddrPort }

const (
	// longestHeader bounds what is read of one. With all that may follow the addresses (names, certificates) they are a few hundred bytes.
	longestHeader = 4096
	// longestLine is that of version 1, by its specification.
	longestLine = 107
	// forwardPatience is for the header: it is sent with the connection.
	forwardPatience = 3 * time.Second
)

var errNoHeader = errors.New("no header of the PROXY protocol")

// parseHeader reads a header at the beginning of b. size is its length; 0 when more is needed to know.
func parseHeader(b []byte) (f forwarded, size int, err error) {
	switch {
	case bytes.HasPrefix(b, []byte(signature)):
		return parseBinary(b)
	case bytes.HasPrefix([]byte(signature), b):
		return f, 0, nil
	}
	return parseLine(b)
}

// parseLine reads version 1: PROXY TCP4 192.0.2.7 198.18.0.1 4660 80.
func parseLine(b []byte) (f forwarded, size int, err error) {
	const begin = "PROXY "
	if !strings.HasPrefix(begin, string(b[:min(len(b), len(begin))])) {
		return f, 0, errNoHeader
	}
	line, _, whole := bytes.Cut(b[:min(len(b), longestLine)], []byte("\r\n"))
	if !whole {
		if len(b) >= longestLine {
			return f, 0, errNoHeader
		}
		return f, 0, nil
	}
	size = len(line) + 2
	words := strings.Split(string(line), " ")
	if words[1] == "UNKNOWN" {
		return f, size, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return f, 0, errNoHeader
	}
	client, ok1 := addrPort(words[2], words[4])
	to, ok2 := addrPort(words[3], words[5])
	if !ok1 || !ok2 || client.Addr().Is4() != (words[1] == "TCP4") || to.Addr().Is4() != client.Addr().Is4() {
		return f, 0, errNoHeader
	}
	return forwarded{client, to}, size, nil
}

func addrPort(addr, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), err == nil && portErr == nil && a.Zone() == ""
}

// parseBinary reads version 2. What follows the addresses is skipped.
func parseBinary(b []byte) (f forwarded, size int, err error) {
	const head = len(signature) + 4
	if len(b) < head {
		return f, 0, nil
	}
	command, family := b[len(signature)], b[len(signature)+1]
	size = head + int(binary.BigEndian.Uint16(b[head-2:]))
	switch {
	case command != version2|local && command != version2|proxied || size > longestHeader:
		return f, 0, errNoHeader
	case len(b) < size:
		return f, 0, nil
	}
	length := map[byte]int{tcp4: 4, tcp6: 16}[family]
	body := b[head:size]
	if command == version2|local || length == 0 {
		return f, size, nil
	}
	if len(body) < 2*length+4 {
		return f, 0, errNoHeader
	}
	client, _ := netip.AddrFromSlice(body[:length])
	to, _ := netip.AddrFromSlice(body[length : 2*length])
	ports := body[2*length:]
	return forwarded{
		netip.AddrPortFrom(client.Unmap(), binary.BigEndian.Uint16(ports)), netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(ports[2:])),
	}, size, nil
}

// forwarded reads the header off a connection, and not a byte more.
func (c *conn) forwarded() (f forwarded, err error) {
	if err := c.file.SetReadDeadline(time.Now().Add(forwardPatience)); err != nil {
		return f, err
	}
	buf := make([]byte, longestHeader)
	rerr := c.raw.Read(func(fd uintptr) bool {
		var n, size int
		if n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_PEEK); errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			return false
		}
		if err == nil {
			f, size, err = parseHeader(buf[:n])
		}
		switch {
		case err != nil:
			return true
		case size > 0:
			_, err = unix.Read(int(fd), buf[:size])
			return true
		case n == 0 || n == len(buf): // nothing more comes, or too much
			err = errNoHeader
			return true
		}
		return false
	})
	if rerr != nil {
		return f, rerr
	}
	if err != nil {
		return f, err
	}
	return f, c.file.SetReadDeadline(time.Time{})
}

// forwardedListener tells who is forwarded by forwarders.
type forwardedListener struct {
	net.Listener
	trusted *forwarders
}

// Accept implements net.Listener. It does not wait for the header.
func (l *forwardedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || !l.trusted.has(from.AddrPort().Addr().Unmap()) {
		return conn, nil
	}
	return &forwardedConn{Conn: conn, from: from}, nil
}

// forwardedConn reads the header before anybody asks it for anything.
type forwardedConn struct {
	net.Conn
	once sync.Once
	from net.Addr
	rest []byte // that came with the header
	err  error
}

func (c *forwardedConn) begin() {
	c.once.Do(func() {
		if c.err = c.SetReadDeadline(time.Now().Add(forwardPatience)); c.err != nil {
			return
		}
		buf := make([]byte, longestHeader)
		for n := 0; ; {
			more, err := c.Conn.Read(buf[n:])
			n += more
			f, size, parseErr := parseHeader(buf[:n])
			switch {
			case parseErr != nil:
				err = parseErr
			case size > 0:
				if f.client.IsValid() {
					c.from = net.TCPAddrFromAddrPort(f.client)
				}
				c.rest = buf[size:n]
				c.err = c.SetReadDeadline(time.Time{})
				return
			}
			if err != nil || n == len(buf) {
				c.err = errNoHeader
				c.Close()
				return
			}
		}
	})
}

// RemoteAddr implements net.Conn.
func (c *forwardedConn) RemoteAddr() net.Addr {
	c.begin()
	return c.from
}

// Read implements net.Conn.
func (c *forwardedConn) Read(b []byte) (int, error) {
	c.begin()
	switch {
	case c.err != nil:
		return 0, c.err
	case len(c.rest) > 0:
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
