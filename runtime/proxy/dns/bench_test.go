package dns

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// The benchmark asks at a steady rate, whether or not earlier questions were answered, and reads every answer. The server is a process of its
// own on one core, and its table changes all the time.
const (
	benchVar    = "BERTH_BENCH_DNS" // seconds to measure; for the server's process "serve"
	benchRate   = 10_000
	benchNames  = 1000
	benchChange = 100 * time.Millisecond
	// benchClients have a socket each, as pods have.
	benchClients = 50
)

// TestBenchQuestions is run by `make bench`.
func TestBenchQuestions(t *testing.T) {
	switch seconds := os.Getenv(benchVar); seconds {
	case "":
		t.Skip("a measurement: make bench runs it")
	case "serve":
		benchServe(t)
	default:
		length, err := time.ParseDuration(seconds)
		if err != nil {
			t.Fatal(err)
		}
		benchAsk(t, length)
	}
}

// benchTable is a table in which every address tells which one it is.
func benchTable(version byte) runtime.Traffic {
	var out runtime.Traffic
	for i := range benchNames {
		s := runtime.Service{Namespace: "shop", Name: fmt.Sprintf("s%d", i), Hosts: []runtime.Host{
			{Address: netip.AddrFrom4([4]byte{10, version, 1, 1})}, {Address: netip.AddrFrom4([4]byte{10, version, 1, 2})},
		}}
		out.Services = append(out.Services, s)
	}
	return out
}

func benchServe(t *testing.T) {
	t.Helper()
	if err := unix.SchedSetaffinity(0, &unix.CPUSet{1}); err != nil { // threads that come later inherit it
		t.Fatal(err)
	}
	s := New(config)
	s.Apply(benchTable(0))
	fmt.Println("at", serve(t, s))
	done := make(chan struct{})
	go func() { _, _ = bufio.NewReader(os.Stdin).ReadString('\n'); close(done) }()
	for version := byte(1); ; version++ {
		select {
		case <-done:
			var u syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
			fmt.Println("cpu", time.Duration(u.Utime.Nano()+u.Stime.Nano()))
			return
		case <-time.After(benchChange):
			s.Apply(benchTable(version))
		}
	}
}

func benchAsk(t *testing.T, length time.Duration) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestBenchQuestions$")
	cmd.Env = append(os.Environ(), benchVar+"=serve", "GOMAXPROCS=1")
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	at := strings.TrimPrefix(lines.Text(), "at ")

	var clients []*benchClient
	var reading sync.WaitGroup
	for range benchClients {
		conn, err := net.Dial("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		c := &benchClient{conn: conn, due: map[uint16]time.Time{}}
		clients = append(clients, c)
		reading.Go(func() { c.read(t) })
	}
	packets := make([][]byte, benchNames)
	for i := range packets {
		name := fmt.Sprintf("s%d.shop.svc.cluster.local.", i)
		if i%4 == 3 { // what a search list asks
			name = fmt.Sprintf("s%d.example.com.shop.svc.cluster.local.", i)
		}
		packets[i] = packet(t, name, dnsmessage.TypeA)
	}
	sent, began := 0, time.Now()
	for time.Since(began) < length {
		for ; sent < int(time.Since(began).Seconds()*benchRate); sent++ {
			clients[sent%benchClients].send(packets[sent%benchNames], uint16(sent/benchClients), began.Add(time.Duration(sent)*time.Second/benchRate))
		}
		time.Sleep(200 * time.Microsecond)
	}
	took := time.Since(began)
	for _, c := range clients {
		c.finish()
	}
	reading.Wait()
	_, _ = stdin.Write([]byte("\n"))
	lines.Scan()
	cpu, _ := time.ParseDuration(strings.TrimPrefix(lines.Text(), "cpu "))
	_ = cmd.Wait()
	var times []time.Duration
	wrong := 0
	for _, c := range clients {
		c.conn.Close()
		times, wrong = append(times, c.times...), wrong+c.wrong
	}
	slices.Sort(times)
	if len(times) == 0 {
		t.Fatal("nothing was answered")
	}
	fmt.Printf("asked %d in %.1fs (%.0f/s, intended %d/s), answered %d, lost %d, wrong %d; median %v, p99 %v, slowest %v; %d Services, a new table each %v; %.0f %% of one core\n",
		sent, took.Seconds(), float64(sent)/took.Seconds(), benchRate, len(times), sent-len(times), wrong,
		times[len(times)/2], times[len(times)*99/100], times[len(times)-1], benchNames, benchChange, 100*cpu.Seconds()/took.Seconds())
	if wrong > 0 || sent < int(0.95*benchRate*took.Seconds()) {
		t.Errorf("%d wrong answers; %d questions", wrong, sent)
	}
}

type benchClient struct {
	conn net.Conn

	mu    sync.Mutex
	due   map[uint16]time.Time
	asked bool // there are no more questions
	times []time.Duration
	wrong int
}

// finish lets read end with the last answer, and after a second at the latest: what has not come by then is lost.
func (c *benchClient) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = true
	end := time.Now()
	if len(c.due) > 0 {
		end = end.Add(time.Second)
	}
	_ = c.conn.SetReadDeadline(end)
}

func (c *benchClient) send(packet []byte, id uint16, due time.Time) {
	c.mu.Lock()
	c.due[id] = due
	c.mu.Unlock()
	packet[0], packet[1] = byte(id>>8), byte(id)
	_, _ = c.conn.Write(packet)
}

// read counts answers. One is right when both addresses are of one table, or when it says that a name that does not exist does not.
func (c *benchClient) read(t *testing.T) {
	t.Helper()
	buf := make([]byte, 2048)
	for {
		n, err := c.conn.Read(buf)
		if err != nil {
			return
		}
		now := time.Now()
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil {
			t.Errorf("not a message: %v", err)
			return
		}
		right := m.RCode == dnsmessage.RCodeNameError && strings.Contains(m.Questions[0].Name.String(), "example.com") && len(m.Authorities) == 1
		if len(m.Answers) == 2 {
			a, aok := m.Answers[0].Body.(*dnsmessage.AResource)
			b, bok := m.Answers[1].Body.(*dnsmessage.AResource)
			right = aok && bok && a.A[1] == b.A[1] && a.A != b.A && m.Answers[0].Header.Name == m.Questions[0].Name
		}
		c.mu.Lock()
		due, asked := c.due[m.ID]
		delete(c.due, m.ID)
		if !right || !asked {
			c.wrong++
		} else {
			c.times = append(c.times, now.Sub(due))
		}
		last := c.asked && len(c.due) == 0
		c.mu.Unlock()
		if last {
			return
		}
	}
}
