package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
	"berth/e2e/load"
)

// backWithin is how soon a published port answers again after any process of berth was killed, on a machine that is not slow: see starting.
const backWithin = 100 * time.Millisecond

// onlyCarried wants no request to have failed but those that a killed proxy carried: nobody is refused, and nobody waits in vain.
func onlyCarried(t *testing.T, r load.Result) {
	t.Helper()
	for reason, n := range r.Failed {
		if !strings.Contains(reason, "reset") && !strings.Contains(reason, "closed instead") {
			t.Errorf("%d requests failed that the dead proxy did not carry: %s", n, reason)
		}
	}
}

// starting is how long a process of berth takes here to begin and end, at best.
func starting(b *harness.Berth) time.Duration {
	b.Helper()
	best := time.Hour
	for range 5 {
		began := time.Now()
		b.Must("help")
		best = min(best, time.Since(began))
	}
	return best
}

// held are connections that stay open, each used now and then.
type held []*bufio.ReadWriter

func hold(t *testing.T, n int, addr string) held {
	t.Helper()
	var all held
	for range n {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
		all = append(all, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)))
	}
	return all
}

// lost asks for a page over each and counts those over which none comes.
func (h held) lost() (n int) {
	for _, c := range h {
		_, err := c.WriteString("GET / HTTP/1.1\r\nHost: held\r\n\r\n")
		if err == nil {
			err = c.Flush()
		}
		var answer *http.Response
		if err == nil {
			answer, err = http.ReadResponse(c.Reader, nil) //nolint:bodyclose // the connection stays, and is read to the next answer
		}
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
		}
		if err != nil {
			n++
		}
	}
	return n
}

// gap asks over new connections, one after the other, while something happens and until the next answer, and returns the longest time between
// two answers.
func gap(addr string, happens func()) time.Duration {
	end, done := make(chan struct{}), make(chan time.Duration)
	go func() {
		var longest time.Duration
		last, ending := time.Now(), false
		for {
			c := held{}
			if conn, err := net.DialTimeout("tcp", addr, 5*time.Second); err == nil {
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				c = append(c, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)))
				if c.lost() == 0 {
					longest = max(longest, time.Since(last))
					if last = time.Now(); ending {
						conn.Close()
						done <- longest
						return
					}
				}
				conn.Close()
			}
			select {
			case <-end:
				ending = true
			default:
			}
		}
	}()
	happens()
	close(end)
	return <-done
}

// Under load the keeper is killed, then the proxy, three times and more. Without its keeper a port goes on as if nothing had happened. With the proxy go the
// connections that it carried, and no others: whoever connects meanwhile waits, and is answered by the next one within a tenth of a second.
func TestKilledUnderLoad(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	port := openPort(t)
	b.Write("web.yaml", deployment("web", 2, run("web", "8080", "hello")).String())
	b.Write("service.yaml", balancer(port))
	b.Up()
	pods := b.UntilReady("web-", 2)
	at := fmt.Sprintf("127.0.0.1:%d", port)
	untilFetched(b, "http://"+at+"/", "hello web-")
	cluster := b.MustKubectl("get", "service", "web", "-o", fmt.Sprintf("jsonpath={.spec.clusterIP}:%d", port))
	elsewhere := append(hold(t, 5, pods[0].IP+":8080"), hold(t, 5, cluster)...)

	// during runs what happens beside 200 requests a second, each on a connection of its own.
	during := func(what string, happens func()) (load.Result, time.Duration) {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan load.Result)
		go func() { result <- load.Run(ctx, load.Config{Addr: at, Rate: 200}) }()
		away := gap(at, happens)
		cancel()
		r := <-result
		t.Logf("%s: longest without an answer %v; %d requests, failed %v, slowest %v", what, away, r.Sent, r.Failed, r.Slowest)
		return r, away
	}

	through := hold(t, 20, at)
	r, usual := during("the keeper killed", func() {
		old := b.Keeper()
		b.KillKeeper()
		b.Until("another keeper", func() error {
			if pid := b.Keeper(); pid == 0 || pid == old {
				return fmt.Errorf("the keeper is %d, was %d", pid, old)
			}
			return nil
		})
	})
	if lost := through.lost(); lost > 0 || len(r.Failed) > 0 {
		t.Errorf("the keeper killed: %d of %d open connections were lost; %v", lost, len(through), r.FirstFailure)
	}
	// What else runs on this machine can make it longer, and nothing shorter: a few times more, if it has to be.
	limit, least := usual+max(backWithin, 5*starting(b)), time.Hour
	for i := 0; i < 3 || i < 8 && least > limit; i++ {
		if i >= 3 { // who dies young again and again is not started again at once
			b.Until("the proxy to be grown up", func() error {
				if age := harness.Age(b.Processes("proxy")[0]); age < 3*time.Second {
					return fmt.Errorf("it is %v old", age)
				}
				return nil
			})
		}
		b.Until("the keeper to hold the port's sockets", func() error { return holdsPort(b.Keeper(), port) })
		r, away := during(fmt.Sprintf("the proxy killed, round %d", i), func() { killProxy(b) })
		onlyCarried(t, r)
		if lost := through.lost(); lost != len(through) {
			t.Errorf("%d of %d connections of the dead proxy were lost: they are somebody else's?", lost, len(through))
		}
		through = hold(t, 20, at)
		if lost := through.lost(); lost > 0 {
			t.Errorf("%d of %d connections of the next proxy do not work", lost, len(through))
		}
		least = min(least, away)
	}
	if least > limit {
		t.Errorf("the proxy killed: at best the port was away for %v, of at most %v", least, limit)
	}
	if lost := elsewhere.lost(); lost > 0 {
		t.Errorf("%d of %d connections that no proxy carries were lost", lost, len(elsewhere))
	}
}

// killProxy kills the one that serves and waits for another.
func killProxy(b *harness.Berth) {
	b.Helper()
	var old int
	one := func() error {
		pids := b.Processes("proxy")
		if len(pids) != 1 || pids[0] == old {
			return fmt.Errorf("proxies %v, killed %d", pids, old)
		}
		return nil
	}
	b.Until("one proxy", one)
	old = b.Processes("proxy")[0]
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		b.Fatalf("%v", err)
	}
	b.Until("another proxy", one)
}

// holdsPort tells whether a process has the sockets that listen on a port of its network: on IPv4 and on IPv6.
func holdsPort(pid, port int) error {
	held := 0
	for _, family := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, family))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line) // sl local_address rem_address st … inode: proc_pid_net(5)
			if len(f) < 10 || f[3] != "0A" || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				continue
			}
			if !hasDescriptor(pid, "socket:["+f[9]+"]") {
				return fmt.Errorf("process %d does not have socket %s of port %d", pid, f[9], port)
			}
			held++
		}
	}
	if held < 2 {
		return fmt.Errorf("%d sockets listen on port %d", held, port)
	}
	return nil
}

func hasDescriptor(pid int, of string) bool {
	list, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range list {
		if to, err := os.Readlink(fd); err == nil && to == of {
			return true
		}
	}
	return false
}
