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
func talk(addr string, line string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
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
