package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/load"
)

// portsTried are those that openPort has looked at, from 20000 on.
var portsTried atomic.Int32

// openPort is a port of the machine that nobody has now, and that nobody gets who asks for any, as every client does: those are greater.
func openPort(t *testing.T) int {
	t.Helper()
	for {
		port := 20000 + int(portsTried.Add(1))
		if l, err := net.Listen("tcp", fmt.Sprint(":", port)); err == nil {
			l.Close()
			return port
		} else if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

// balancer is a Service of type LoadBalancer for the pods of the app web.
func balancer(port int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: %d, targetPort: 8080}]}
`, port)
}

func untilFetched(b *harness.Berth, url, want string) {
	b.Helper()
	b.Until(url+" to answer", func() error {
		body, err := fetch(url)
		if err == nil && !strings.HasPrefix(body, want) {
			err = fmt.Errorf("it says %q", body)
		}
		return err
	})
}

// A Service of type LoadBalancer, and a container with a hostPort, are reached on the machine's own addresses; without pods the port refuses.
func TestPublishedPort(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	open, host := openPort(t), openPort(t)
	b.Write("web.yaml", deployment("web", 2, run("web", "8080", "balanced")).String())
	b.Write("service.yaml", balancer(open))
	b.Write("one.yaml", pod("one", run("web", "8080", "hosted")+fmt.Sprintf(", ports: [{containerPort: 8080, hostPort: %d}]", host)).String())
	b.Up()
	b.UntilReady("web-", 2)
	for _, at := range []string{"127.0.0.1", "[::1]"} {
		untilFetched(b, fmt.Sprintf("http://%s:%d/", at, open), "balanced web-")
		untilFetched(b, fmt.Sprintf("http://%s:%d/", at, host), "hosted one")
	}
	answered := map[string]bool{}
	b.Until("both pods to answer", func() error { // who is ready has still to be told to the proxy
		http.DefaultClient.CloseIdleConnections() // a connection stays with its pod
		body, err := fetch(fmt.Sprintf("http://127.0.0.1:%d/", open))
		if err != nil {
			return err
		}
		if answered[body] = true; len(answered) < 2 {
			return fmt.Errorf("all were answered by %q", body)
		}
		return nil
	})
	if text := b.Must("status"); !strings.Contains(text, fmt.Sprintf("%d/tcp  Service/default/web  2\n", open)) {
		t.Errorf("status does not show the port %d:\n%s", open, text)
	}
	if n := len(b.Processes("proxy")); n != 1 {
		t.Errorf("%d proxies run", n)
	}
	b.Write("web.yaml", deployment("web", 0, run("web", "8080", "balanced")).String())
	b.Until("the port to refuse", func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", open))
		if err == nil {
			c.Close()
			return fmt.Errorf("it accepts")
		}
		return nil
	})
	b.Delete("service.yaml")
	b.Until("the port to be free", func() error {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", open))
		if err == nil {
			l.Close()
		}
		return err
	})
}

// download takes a page that comes slowly, line by line.
type download struct {
	done  chan struct{}
	lines int
	err   error
}

// slowly begins to take a page of n lines, 10 ms apart, and returns when the first one is there.
func slowly(t *testing.T, port, n int) *download {
	t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/slow?lines=%d", port, n)) //nolint:bodyclose // its reader closes it
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(r.Body)
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	d := &download{done: make(chan struct{}), lines: 1}
	go func() {
		defer close(d.done)
		defer r.Body.Close()
		for {
			if _, err := in.ReadString('\n'); err != nil {
				if err != io.EOF {
					d.err = err
				}
				return
			}
			d.lines++
		}
	}()
	return d
}

func (d *download) whole(t *testing.T, n int, what string) {
	t.Helper()
	<-d.done
	if d.err != nil || d.lines != n {
		t.Errorf("%s: a download ended after %d of %d lines: %v", what, d.lines, n, d.err)
	}
}

// loaded sends 200 requests a second on new connections while something happens, and some more.
func loaded(t *testing.T, port int, happens func()) load.Result {
	t.Helper()
	return load.During(t.Context(), happens, load.Config{Addr: fmt.Sprintf("127.0.0.1:%d", port), Rate: 200})[0]
}

// A published port outlives every process of berth. The controller killed, and everything upgraded: nothing is lost, not even a download under
// way. The keeper killed: nothing either. The proxy killed: what was open, and the port is back at once.
func TestPublishedPortSurvives(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	port := openPort(t)
	b.Write("web.yaml", deployment("web", 2, run("web", "8080", "hello")).String())
	b.Write("service.yaml", balancer(port))
	up := b.Up()
	b.UntilReady("web-", 2)
	untilFetched(b, fmt.Sprintf("http://127.0.0.1:%d/", port), "hello web-")
	proxy := func() int {
		var pid int
		b.Until("one proxy to run", func() error {
			pids := b.Processes("proxy")
			if len(pids) != 1 {
				return fmt.Errorf("%v", pids)
			}
			pid = pids[0]
			return nil
		})
		return pid
	}
	first := proxy()
	const lines = 300
	nothing := func(what string, r load.Result) {
		t.Helper()
		t.Logf("%s: %d requests, failed %v, slowest %v", what, r.Sent, r.Failed, r.Slowest)
		if len(r.Failed) > 0 {
			t.Errorf("%s: %v", what, r.FirstFailure)
		}
	}

	slow := slowly(t, port, lines)
	nothing("the controller killed", loaded(t, port, func() {
		up.Kill()
		up = b.Up()
	}))
	nothing("the keeper killed", loaded(t, port, func() {
		old := b.Keeper()
		b.KillKeeper()
		b.Until("another keeper", func() error {
			if pid := b.Keeper(); pid == 0 || pid == old {
				return fmt.Errorf("the keeper is %d, was %d", pid, old)
			}
			return nil
		})
	}))
	slow.whole(t, lines, "controller and keeper killed")
	if now := proxy(); now != first {
		t.Errorf("the proxy was process %d and is %d", first, now)
	}

	r := loaded(t, port, func() {
		if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		b.Until("another proxy", func() error {
			if pid := proxy(); pid == first {
				return fmt.Errorf("the old one")
			}
			return nil
		})
	})
	t.Logf("the proxy killed: %d requests, failed %v, slowest %v", r.Sent, r.Failed, r.Slowest)
	onlyCarried(t, r) // how soon the port is back is measured where nothing else runs: TestKilledUnderLoad

	newer := filepath.Join(t.TempDir(), "berth")
	data, err := os.ReadFile(os.Getenv(harness.BinaryVar))
	if err == nil {
		err = os.WriteFile(newer, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := proxy()
	slow = slowly(t, port, lines)
	nothing("an upgrade", loaded(t, port, func() {
		t.Setenv(harness.BinaryVar, newer)
		b.Up("--replace")
		b.Until("the new proxy", func() error {
			if pids := b.Processes("proxy"); len(pids) < 2 {
				return fmt.Errorf("proxies %v", pids)
			}
			return nil
		})
	}))
	slow.whole(t, lines, "an upgrade")
	http.DefaultClient.CloseIdleConnections() // the old proxy waits for the last one
	if now := proxy(); now == before {
		t.Errorf("the proxy is still process %d", now)
	}
}
