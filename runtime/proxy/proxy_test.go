package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "berth/runtime/keeper" // this test binary is the keeper
	"berth/runtime/keeper/client"
	_ "berth/runtime/proxy" // and the proxy

	"berth/runtime"
	"berth/runtime/proxy/table"
)

// world is a keeper and its proxy on a run directory of their own.
type world struct {
	*testing.T
	dir string
	k   *client.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: a keeper cannot make namespaces")
	}
	w := &world{T: t, dir: filepath.Join(t.TempDir(), "run")}
	w.keeper()
	t.Cleanup(func() {
		k, err := client.Dial(context.Background(), w.dir)
		if err == nil {
			err = k.Shutdown(context.Background(), true)
		}
		if err != nil && !errors.Is(err, client.ErrKeeperGone) {
			t.Errorf("shutdown: %v", err)
		}
		if p, _ := os.ReadFile(filepath.Join(w.dir, "keeper.log")); len(p) > 0 {
			t.Errorf("keeper's log:\n%s", p)
		}
	})
	return w
}

// keeper makes sure that one serves.
func (w *world) keeper() {
	w.Helper()
	exe, err := os.Executable()
	if err == nil {
		err = client.Spawn(w.ctx(), exe, w.dir, client.SpawnOptions{})
	}
	if err == nil {
		w.k, err = client.Dial(w.ctx(), w.dir)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	w.Cleanup(cancel)
	return ctx
}

// route writes a table and waits until the proxy goes by it.
func (w *world) route(ports ...runtime.PublishedPort) table.Answer {
	w.Helper()
	if err := table.Write(w.dir, &table.Table{Traffic: runtime.Traffic{Ports: ports}}); err != nil {
		w.Fatal(err)
	}
	if _, err := w.k.Proxy(w.ctx()); err != nil {
		w.Fatal(err)
	}
	return w.ask(table.Reload)
}

func (w *world) ask(word string) (a table.Answer) {
	w.Helper()
	w.eventually("the proxy answers", func() bool {
		var err error
		a, err = table.Ask(w.ctx(), w.dir, word)
		if err != nil && !errors.Is(err, table.ErrNoProxy) {
			w.Fatal(err)
		}
		return err == nil
	})
	return a
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(15 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			w.Fatalf("never: %s", what)
		}
	}
}

// backend answers each line with its name and the line.
type backend struct {
	net.Listener
	name string
	mu   sync.Mutex
	seen int
}

func (w *world) backend(name string) *backend {
	w.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { l.Close() })
	b := &backend{Listener: l, name: name}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.seen++
			b.mu.Unlock()
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						if line != "" || errors.Is(err, io.EOF) {
							fmt.Fprintf(c, "%s end %s\n", name, line)
						}
						return
					}
					fmt.Fprintf(c, "%s %s", name, line)
				}
			}()
		}
	}()
	return b
}

func (b *backend) addr() netip.AddrPort { return netip.MustParseAddrPort(b.Addr().String()) }

func (b *backend) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

// freePort is one that nobody has now.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func published(port uint16, backends ...*backend) runtime.PublishedPort {
	p := runtime.PublishedPort{Protocol: runtime.TCP, Port: port, Owner: "Service/default/web"}
	for _, b := range backends {
		p.Backends = append(p.Backends, b.addr())
	}
	return p
}

// talk is one line there and back on a connection of its own.
func talk(addr string, line string) (string, error) { return talkFrom("", addr, line) }

// talkFrom comes from an address of this machine.
func talkFrom(from, addr, line string) (string, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return say(c, line)
}

func say(c net.Conn, line string) (string, error) {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c, line); err != nil {
		return "", err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(got), err
}

func at(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func TestPublishedPort(t *testing.T) {
	w := newWorld(t)
	a, b := w.backend("a"), w.backend("b")
	port := freePort(t)
	if got := w.route(published(port, a, b)); len(got.Problems) > 0 {
		t.Fatalf("problems: %+v", got.Problems)
	}
	for i, addr := range []string{at(port), at(port), fmt.Sprintf("[::1]:%d", port), fmt.Sprintf("[::1]:%d", port)} {
		if got, err := talk(addr, "hello"); err != nil || !strings.HasSuffix(got, " hello") {
			t.Errorf("%d %s: %q, %v", i, addr, got, err)
		}
	}
	if a.count() != 2 || b.count() != 2 {
		t.Errorf("a had %d connections, b %d", a.count(), b.count())
	}
	// One that is gone is stepped over without the client's notice.
	a.Close()
	for range 4 {
		if got, err := talk(at(port), "again"); err != nil || got != "b again" {
			t.Errorf("with one dead backend: %q, %v", got, err)
		}
	}
	// Half a connection's end is passed on, and the answer still comes.
	c, err := net.Dial("tcp", at(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "tail")
	_ = c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "b end tail\n" {
		t.Errorf("after the end of what is sent: %q, %v", rest, err)
	}
	// Without backends the port refuses, and stays taken.
	w.route(published(port))
	if _, err := talk(at(port), "x"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without backends: %v", err)
	}
	if l, err := net.Listen("tcp", at(port)); err == nil {
		l.Close()
		t.Error("another process could take the port meanwhile")
	}
	// Still without, and by another proxy: it goes on refusing, and nothing of it stays.
	w.kill(w.route(published(port)).PID)
	w.route(published(port))
	w.route(published(port, b))
	before := b.count()
	late, err := net.Dial("tcp", at(port))
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	w.eventually("the backend has the connection", func() bool { return b.count() > before })
	if got, err := say(late, "back"); err != nil || got != "b back" { // not before the proxy reads
		t.Errorf("with backends again: %q, %v", got, err)
	}
	// Given up, it is free.
	w.route()
	l, err := net.Listen("tcp", at(port))
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	l.Close()
}

func TestMuchIsCarried(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // an echo
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	port := freePort(t)
	p := published(port)
	p.Backends = []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}
	w.route(p)
	want := bytes.Repeat([]byte("0123456789abcdef!"), 1<<20)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c, err := net.Dial("tcp", at(port))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			go func() {
				_, _ = c.Write(want)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d came back right: %v, %v", len(got), len(want), bytes.Equal(got, want), err)
			}
		})
	}
	all.Wait()
	w.eventually("all connections have ended", func() bool { return w.ask(table.Status).Connections == 0 })
}

// A client that is to be kept goes to the backend it had, for as long as that answers; others have others.
func TestAffinity(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.backend("a"), w.backend("b"), w.backend("c")
	p := published(freePort(t), a, b, c)
	p.AffinitySeconds = 1000
	w.route(p)
	had := map[string]string{}
	clients := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	for _, client := range clients {
		for range 3 { // as many as there are backends
			got, err := talkFrom(client, at(p.Port), "x")
			if err != nil || had[client] != "" && got != had[client] {
				t.Errorf("%s: %q after %q, %v", client, got, had[client], err)
			}
			had[client] = got
		}
	}
	if had[clients[0]] == had[clients[1]] || had[clients[1]] == had[clients[2]] {
		t.Errorf("three clients on three backends: %v", had)
	}
	for _, gone := range []*backend{a, b, c} {
		if had[clients[0]] == gone.name+" x" {
			gone.Close()
		}
	}
	first, err := talkFrom(clients[0], at(p.Port), "x")
	if err != nil || first == had[clients[0]] {
		t.Errorf("its backend is dead: %q, %v", first, err)
	}
	for range 3 {
		if got, err := talkFrom(clients[0], at(p.Port), "x"); err != nil || got != first {
			t.Errorf("moved to %q, then %q, %v", first, got, err)
		}
	}
	p.AffinitySeconds = 0
	w.route(p)
	moved := map[string]bool{}
	for range 6 {
		got, err := talkFrom(clients[1], at(p.Port), "x")
		if err != nil {
			t.Error(err)
		}
		moved[got] = true
	}
	if len(moved) != 2 {
		t.Errorf("without affinity one client goes to %v", moved)
	}
}

// Only who is in one of the ranges is let in, by TCP and by UDP.
func TestSources(t *testing.T) {
	w := newWorld(t)
	b, u := w.backend("b"), w.udpBackend("u")
	ranges := []netip.Prefix{netip.MustParsePrefix("127.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8")}
	tcp, udp := published(freePort(t), b), publishedUDP(freePort(t), u)
	tcp.Sources, udp.Sources = ranges, ranges
	w.route(tcp, udp)
	for client, in := range map[string]bool{"127.0.2.7": true, "127.0.3.7": false, "127.0.0.1": false} {
		if got, err := talkFrom(client, at(tcp.Port), "x"); in != (err == nil && got == "b x") {
			t.Errorf("%s by TCP: %q, %v", client, got, err)
		}
		c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(client)}}).Dial("udp", at(udp.Port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if in {
			if got, err := ask(c); err != nil || got[:1] != "u" {
				t.Errorf("%s by UDP: %q, %v", client, got, err)
			}
			continue
		}
		_, _ = c.Write([]byte("x"))
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := c.Read(make([]byte, 10)); err == nil {
			t.Errorf("%s by UDP: %d bytes", client, n)
		}
	}
	if got, err := talk(fmt.Sprintf("[::1]:%d", tcp.Port), "x"); err == nil {
		t.Errorf("::1 is in no range: %q", got)
	}
	tcp.Sources = nil
	w.route(tcp)
	if got, err := talk(at(tcp.Port), "x"); err != nil || got != "b x" {
		t.Errorf("without ranges: %q, %v", got, err)
	}
}
