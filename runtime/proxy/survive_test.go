package proxy_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"berth/runtime/proxy/table"
)

// downLongest is how long a port may be away when a process that it counts on is killed, whatever else the machine does: after a second whoever was not heard asks
// again. How soon it is back at best is measured where nothing else runs (e2e: TestKilledUnderLoad).
const downLongest = time.Second

// pestered connects and talks all the time, and returns the failures and the longest time that one took until stop is called.
func pestered(t *testing.T, addr string) (stop func() (tried, failed int, slowest time.Duration)) {
	t.Helper()
	end, done := make(chan struct{}), make(chan struct{})
	var tried, failed int
	var slowest time.Duration
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			default:
			}
			began := time.Now()
			_, err := talk(addr, "x")
			tried++
			if err != nil {
				if failed++; failed < 5 {
					t.Logf("failed after %v: %v", time.Since(began), err)
				}
			}
			slowest = max(slowest, time.Since(began))
		}
	}()
	return func() (int, int, time.Duration) {
		close(end)
		<-done
		return tried, failed, slowest
	}
}

func (w *world) kill(pid int) {
	w.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.Fatal(err)
	}
}

func TestKilledProxy(t *testing.T) {
	w := newWorld(t)
	b := w.backend("b")
	port := freePort(t)
	first := w.route(published(port, b))
	open, err := net.Dial("tcp", at(port))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := say(open, "x"); err != nil {
		t.Fatal(err)
	}
	stop := pestered(t, at(port))
	w.kill(first.PID)
	var next table.Answer
	w.eventually("another proxy serves", func() bool {
		var err error
		next, err = table.Ask(w.ctx(), w.dir, table.Status)
		return err == nil && next.PID != first.PID
	})
	if got, err := talk(at(port), "hello"); err != nil || got != "b hello" {
		t.Errorf("by the next proxy: %q, %v", got, err)
	}
	if _, err := say(open, "x"); err == nil {
		t.Error("a connection of the dead proxy still works")
	}
	// At most the one that was open at that moment.
	if tried, failed, slowest := stop(); failed > 1 || slowest > downLongest {
		t.Errorf("%d of %d connections failed, the slowest took %v", failed, tried, slowest)
	}
}

func TestKilledKeeper(t *testing.T) {
	w := newWorld(t)
	b := w.backend("b")
	port := freePort(t)
	first := w.route(published(port, b))
	open, err := net.Dial("tcp", at(port))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	stop := pestered(t, at(port))
	w.kill(w.k.Info().PID)
	<-w.k.Done()
	w.keeper()
	if p, err := w.k.Proxy(w.ctx()); err != nil || p.PID != first.PID {
		t.Errorf("the next keeper has proxy %+v instead of %d: %v", p, first.PID, err)
	}
	if got, err := say(open, "hello"); err != nil || got != "b hello" {
		t.Errorf("on a connection from before: %q, %v", got, err)
	}
	if tried, failed, _ := stop(); failed > 0 {
		t.Errorf("%d of %d connections failed without a keeper", failed, tried)
	}
	// The next keeper holds the sockets too, and restarts what is not its child.
	w.eventually("the proxy has turned to the next keeper", func() bool {
		p, err := w.k.Proxy(w.ctx())
		return err == nil && p.Sockets == 2
	})
	stop = pestered(t, at(port))
	w.kill(first.PID)
	w.eventually("another proxy serves", func() bool {
		a, err := table.Ask(w.ctx(), w.dir, table.Status)
		return err == nil && a.PID != first.PID
	})
	if tried, failed, slowest := stop(); failed > 1 || slowest > downLongest {
		t.Errorf("%d of %d connections failed, the slowest took %v", failed, tried, slowest)
	}
}

func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	b := w.backend("b")
	port := freePort(t)
	first := w.route(published(port, b))
	open, err := net.Dial("tcp", at(port))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	exe, _ := os.Executable()
	data, err := os.ReadFile(exe)
	copied := filepath.Join(t.TempDir(), "newer")
	if err == nil {
		err = os.WriteFile(copied, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := pestered(t, at(port))
	if err := w.k.Upgrade(w.ctx(), copied); err != nil {
		t.Fatal(err)
	}
	w.eventually("the new proxy serves", func() bool {
		a, err := table.Ask(w.ctx(), w.dir, table.Status)
		return err == nil && a.PID != first.PID
	})
	if tried, failed, slowest := stop(); failed > 0 || slowest > downLongest {
		t.Errorf("%d of %d connections failed, the slowest took %v", failed, tried, slowest)
	}
	if got, err := say(open, "hello"); err != nil || got != "b hello" {
		t.Errorf("on a connection from before: %q, %v", got, err)
	}
	if syscall.Kill(first.PID, 0) != nil {
		t.Error("the old proxy has not waited for its connection")
	}
	open.Close()
	w.eventually("the old proxy has ended", func() bool { return syscall.Kill(first.PID, 0) != nil })
	if got, err := talk(at(port), "hello"); err != nil || got != "b hello" {
		t.Errorf("by the new proxy: %q, %v", got, err)
	}
}

func TestPortInUse(t *testing.T) {
	w := newWorld(t)
	b := w.backend("b")
	l, err := net.Listen("tcp", ":0") // of both families, and still one problem
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	got := w.route(published(port, b))
	if len(got.Problems) != 1 || got.Problems[0].Reason != "PortInUse" {
		t.Fatalf("problems = %+v", got.Problems)
	}
	t.Log(got.Problems[0].Message)
	l.Close()
	w.eventually("the freed port is taken", func() bool {
		said, err := talk(at(port), "hello")
		return err == nil && said == "b hello"
	})
	if got := w.ask(table.Status); len(got.Problems) > 0 {
		t.Errorf("problems = %+v", got.Problems)
	}
}
