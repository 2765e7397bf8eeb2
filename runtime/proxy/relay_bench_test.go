package proxy

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/proxy/sockets"
)

// What it costs to go through the proxy: time and, which others' work does not change, processor time of everybody who takes part.
func BenchmarkRelay(b *testing.B) {
	for name, streams := range map[string]int{"one": 1, "four": 4} {
		b.Run("much/"+name+"/direct", func(b *testing.B) { much(b, sinkAt(b), streams) })
		b.Run("much/"+name+"/relayed", func(b *testing.B) { much(b, relayedTo(b, sinkAt(b)), streams) })
	}
	b.Run("little/direct", func(b *testing.B) { little(b, echoAt(b)) })
	b.Run("little/relayed", func(b *testing.B) { little(b, relayedTo(b, echoAt(b))) })
}

// served answers connections with f until the test ends, at the address it returns.
func served(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { f(c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

// echo sends back what comes.
func echo(c net.Conn) { _, _ = io.Copy(c, c) }

func sinkAt(b *testing.B) string {
	b.Helper()
	return served(b, func(c net.Conn) {
		buf := make([]byte, 256<<10)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	})
}

func echoAt(b *testing.B) string {
	b.Helper()
	return served(b, func(c net.Conn) {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			_, _ = c.Write(buf[:n])
		}
	})
}

// relayed is a port that leads to another, and its address.
func relayed(t testing.TB, to string) (port *tcpPort, at string) {
	t.Helper()
	return relayedUnder(t, newLoad(), to)
}

// relayedUnder is as relayed, with a share of a load.
func relayedUnder(t testing.TB, load *load, to string) (port *tcpPort, at string) {
	t.Helper()
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at = free.Addr().String()
	free.Close()
	socket, err := sockets.New(nil, nil).Open(context.Background(), "tcp4", netip.MustParseAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	port = newTCP(socket, load, &forwarders{})
	if err := port.update(&runtime.PublishedPort{Backends: []netip.AddrPort{netip.MustParseAddrPort(to)}}); err != nil {
		t.Fatal(err)
	}
	return port, at
}

func relayedTo(b *testing.B, to string) string {
	b.Helper()
	port, at := relayed(b, to)
	b.Cleanup(func() { port.close(context.Background(), false) })
	return at
}

func dialed(b *testing.B, at string) net.Conn {
	b.Helper()
	c, err := net.Dial("tcp4", at)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// much sends pieces of 256 KiB.
func much(b *testing.B, at string, streams int) {
	b.Helper()
	b.SetBytes(256 << 10)
	var conns []net.Conn
	for range streams {
		conns = append(conns, dialed(b, at))
	}
	buf := make([]byte, 256<<10)
	for _, c := range conns {
		_, _ = c.Write(buf)
	}
	cpu := used()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			for range (b.N + i) / streams {
				_, _ = c.Write(buf)
			}
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c) // until all is read
		})
	}
	all.Wait()
	b.ReportMetric((used()-cpu)/float64(b.N)/256*1024*1024/1e6, "cpu-s/GiB")
}

// little sends a byte and waits for it.
func little(b *testing.B, at string) {
	b.Helper()
	c := dialed(b, at)
	defer c.Close()
	one := []byte{1}
	cpu := used()
	for b.Loop() {
		_, _ = c.Write(one)
		_, _ = c.Read(one)
	}
	b.ReportMetric((used()-cpu)/float64(b.N), "cpu-us/op")
}

// used is processor time in microseconds.
func used() float64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e3
}
