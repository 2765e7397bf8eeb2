package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// connection asks for "/" over one connection, made when it is needed. net/http's client is not used: it sends a request again by itself when a kept
// connection turns out to be closed, which is what must be seen here.
type connection struct {
	addr string
	once bool // a new one for each request

	conn   *net.TCPConn
	reader *bufio.Reader
}

var (
	errStatus  = errors.New("status is not 200")
	errNoReply = errors.New("closed instead of a reply")
)

// get sends one request. What is closed while it is idle is made anew before anything is sent; what closes afterwards is a failure.
func (c *connection) get(deadline time.Time) error {
	if c.conn != nil && c.closedIdle() {
		c.close()
	}
	if c.conn == nil {
		conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return fmt.Errorf("not a TCP connection: %T", conn)
		}
		c.conn, c.reader = tcp, bufio.NewReader(tcp)
	}
	last, err := c.exchange(deadline)
	if err != nil || last || c.once {
		c.close()
	}
	return err
}

func (c *connection) exchange(deadline time.Time) (last bool, err error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return true, err
	}
	request := "GET / HTTP/1.1\r\nHost: load\r\n"
	if c.once {
		request += "Connection: close\r\n"
	}
	if _, err := io.WriteString(c.conn, request+"\r\n"); err != nil {
		return true, err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return true, errNoReply
	}
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return true, err
	}
	if resp.StatusCode != http.StatusOK {
		return true, fmt.Errorf("%w: %s", errStatus, resp.Status)
	}
	return resp.Close, nil
}

// closedIdle looks, without waiting, whether the other side has closed.
func (c *connection) closedIdle() bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = n == 0 && err == nil || err != nil && !errors.Is(err, syscall.EAGAIN)
		return true
	})
	return closed || err != nil
}

func (c *connection) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is lost: every reply was read, or failed
		c.conn = nil
	}
}

// reason sorts a failure.
func reason(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "out of local ports"
	case errors.Is(err, errNoReply), errors.Is(err, errStatus), errors.Is(err, syscall.EPIPE):
		return err.Error()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	}
	return err.Error()
}
