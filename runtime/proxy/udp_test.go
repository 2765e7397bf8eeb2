package proxy_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"berth/runtime"
	"berth/runtime/proxy/table"
)

// udpBackend answers each datagram with its name, whom it sees and the datagram.
func (w *world) udpBackend(name string) *net.UDPConn {
	w.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort([]byte(fmt.Sprintf("%s %d %s", name, from.Port(), buf[:n])), from)
		}
	}()
	return c
}

func publishedUDP(port uint16, backends ...*net.UDPConn) runtime.PublishedPort {
	p := runtime.PublishedPort{Protocol: runtime.UDP, Port: port, Owner: "Service/default/dns"}
	for _, b := range backends {
		p.Backends = append(p.Backends, netip.MustParseAddrPort(b.LocalAddr().String()))
	}
	return p
}

// ask sends a datagram and returns the answer. The socket is connected: an answer from another address does not come through.
func ask(c net.Conn) (string, error) {
	buf := make([]byte, 100)
	for try := range 10 {
		_ = c.SetDeadline(time.Now().Add(time.Duration(try+1) * 100 * time.Millisecond))
		if _, err := c.Write([]byte("x")); err != nil {
			return "", err
		}
		n, err := c.Read(buf)
		if !errors.Is(err, syscall.EAGAIN) && !isTimeout(err) {
			return string(buf[:n]), err
		}
	}
	return "", errors.New("no answer")
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func TestUDP(t *testing.T) {
	w := newWorld(t)
	a, b := w.udpBackend("a"), w.udpBackend("b")
	port := freePort(t)
	if got := w.route(publishedUDP(port, a, b)); len(got.Problems) > 0 {
		t.Fatal(got.Problems)
	}
	seen := map[string]bool{}
	// 127.0.0.9 is an address of this machine that it would not answer from by itself.
	for _, host := range []string{"127.0.0.1", "127.0.0.9", "::1", "127.0.0.1"} {
		c, err := net.Dial("udp", net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		first, err := ask(c)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if second, err := ask(c); err != nil || second != first {
			t.Errorf("%s: one client was answered %q and %q (%v)", host, first, second, err)
		}
		seen[first[:1]] = true
	}
	if len(seen) != 2 {
		t.Errorf("the datagrams of 4 clients went to %v only", seen)
	}
	c, err := net.Dial("udp", at(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if _, err := ask(c); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever is no backend any more gets nothing new, from old clients neither.
	w.route(publishedUDP(port, b))
	for range 5 {
		if got, err := ask(c); err != nil || got[:1] != "b" {
			t.Errorf("after a was taken out: %q, %v", got, err)
		}
	}
	w.route(publishedUDP(port))
	if got, err := ask(c); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without backends: %q, %v", got, err)
	}
	first := w.route(publishedUDP(port, a))
	if got, err := ask(c); err != nil || got[:1] != "a" {
		t.Errorf("with a backend again: %q, %v", got, err)
	}
	w.kill(first.PID)
	w.eventually("another proxy serves", func() bool {
		got, err := table.Ask(w.ctx(), w.dir, table.Status)
		return err == nil && got.PID != first.PID
	})
	if got, err := ask(c); err != nil || got[:1] != "a" {
		t.Errorf("by the next proxy: %q, %v", got, err)
	}
	w.route()
	l, err := net.ListenPacket("udp", at(port))
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	l.Close()
}
