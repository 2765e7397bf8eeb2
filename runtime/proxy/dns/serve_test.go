package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"berth/runtime"
)

// serve runs a server on loopback sockets until the test ends.
func serve(t testing.TB, s *Server) (at string) {
	t.Helper()
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.ServePacket(ctx, udp) })
	running.Go(func() { _ = s.ServeStream(ctx, tcp) })
	t.Cleanup(func() { cancel(); running.Wait(); udp.Close(); tcp.Close() })
	return tcp.Addr().String()
}

func resolver(at string, network ...string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, n, _ string) (net.Conn, error) {
		if len(network) > 0 {
			n = network[0]
		}
		return (&net.Dialer{}).DialContext(ctx, n, at)
	}}
}

// TestARealClient: the resolver of the Go project, by UDP, by TCP, and by both as the answer's size demands.
func TestARealClient(t *testing.T) {
	s := newServer(t, using(newOther(t, addresses(60, 1))))
	tr := table()
	big := runtime.Service{Namespace: "shop", Name: "big"}
	for i := range 250 {
		big.Hosts = append(big.Hosts, runtime.Host{Address: netip.AddrFrom4([4]byte{10, 2, 4, byte(i)})})
	}
	tr.Services = append(tr.Services, big)
	s.Apply(tr)
	at := serve(t, s)
	for _, r := range []*net.Resolver{resolver(at), resolver(at, "tcp")} {
		for name, want := range map[string]string{"web.shop.svc.cluster.local.": "[10.3.0.7]", "db-0.db.shop.svc.cluster.local.": "[10.2.0.10]", "www.example.com.": "[192.0.2.1]"} {
			got, err := r.LookupHost(t.Context(), name)
			if diff := cmp.Diff(want, sprint(got)); err != nil || diff != "" {
				t.Errorf("%s: %v -want +got\n%s", name, err, diff)
			}
		}
		if got, err := r.LookupHost(t.Context(), "big.shop.svc.cluster.local."); err != nil || len(got) != 250 {
			t.Errorf("got %d addresses of 250: %v", len(got), err)
		}
		if _, got, err := r.LookupSRV(t.Context(), "http", "tcp", "db.shop.svc.cluster.local."); err != nil || len(got) != 3 {
			t.Errorf("got %d ports of 3: %v", len(got), err)
		}
		if got, err := r.LookupAddr(t.Context(), "10.3.0.7"); err != nil || !slices.Equal(got, []string{"web.shop.svc.cluster.local."}) {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

func TestStrangersAreNotAnswered(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Clients = []netip.Prefix{netip.MustParsePrefix("10.2.0.0/20")} })
	for client, want := range map[string]bool{"10.2.0.77": true, "127.0.0.1": true, "10.2.16.1": false, "192.0.2.1": false, "0.0.0.0": false} {
		if got := s.mayAsk(addr(client)); got != want {
			t.Errorf("%s: %v", client, got)
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if own := netip.MustParsePrefix(a.String()).Addr(); !s.mayAsk(own) {
			t.Errorf("the machine's own %s may not ask", own)
		}
	}
}

func TestOneClientDoesNotTakeAll(t *testing.T) {
	l := &limit{all: 5, each: 3, by: map[netip.Addr]int{}}
	var got []bool
	for _, c := range []string{"10.2.0.1", "10.2.0.1", "10.2.0.1", "10.2.0.1", "10.2.0.2", "10.2.0.2", "10.2.0.2"} {
		got = append(got, l.enter(addr(c)))
	}
	if diff := cmp.Diff([]bool{true, true, true, false, true, true, false}, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	l.leave(addr("10.2.0.2"))
	if !l.enter(addr("10.2.0.3")) {
		t.Error("a place that is free again is not given")
	}
}

// TestOurNamesDoNotWaitForOthers: while the machine's servers are silent, and more ask than may wait.
func TestOurNamesDoNotWaitForOthers(t *testing.T) {
	at := serve(t, newServer(t, using(newOther(t, silent))))
	conn, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 3 * maxWaitingEach {
		_, _ = conn.Write(packet(t, fmt.Sprintf("n%d.example.com.", i), dnsmessage.TypeA))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if got, err := resolver(at).LookupHost(ctx, "web.shop.svc.cluster.local."); err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestAnswersWhileServicesChange: every answer is one table's, whole, and once Apply has returned it is the new one's.
func TestAnswersWhileServicesChange(t *testing.T) {
	s := New(config)
	var version atomic.Uint32
	apply := func(v uint32) {
		var tr runtime.Traffic
		for i := range 20 {
			a := netip.AddrFrom4([4]byte{10, 2, byte(v), 1})
			b := netip.AddrFrom4([4]byte{10, 2, byte(v), 2})
			tr.Services = append(tr.Services, runtime.Service{Namespace: "shop", Name: fmt.Sprintf("s%d", i), Hosts: []runtime.Host{{Address: a}, {Address: b}}})
		}
		s.Apply(tr)
		version.Store(v)
	}
	apply(1)
	at := serve(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var running sync.WaitGroup
	var asked atomic.Int32
	for c := range 4 {
		running.Go(func() {
			r := resolver(at)
			for ctx.Err() == nil {
				before := version.Load()
				got, err := r.LookupHost(t.Context(), fmt.Sprintf("s%d.shop.svc.cluster.local.", c))
				after := version.Load() + 1 // it may have been applied and not yet counted
				if err != nil || len(got) != 2 {
					t.Errorf("got %v, %v", got, err)
					return
				}
				asked.Add(1)
				slices.Sort(got)
				v := uint32(netip.MustParseAddr(got[0]).As4()[2])
				if v < before || v > after || strings.TrimSuffix(got[0], ".1") != strings.TrimSuffix(got[1], ".2") {
					t.Errorf("between tables %d and %d got %v", before, after, got)
					return
				}
			}
		})
	}
	v := uint32(1)
	for ; ctx.Err() == nil && v < 15; v++ {
		apply(v + 1)
		for n := asked.Load(); asked.Load() < n+50 && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	running.Wait()
	if asked.Load() < 100 {
		t.Errorf("only %d questions", asked.Load())
	}
	t.Logf("%d answers, %d tables", asked.Load(), v)
}

// FuzzPackets: whatever comes, we stay up, and what we say is a message that fits.
func FuzzPackets(f *testing.F) {
	s := newServer(f)
	for _, name := range []string{"web.shop.svc.cluster.local.", "alias.shop.svc.cluster.local.", "7.0.3.10.in-addr.arpa.", "10-2-0-10.shop.pod.cluster.local.", "a.example.com."} {
		f.Add(packet(f, name, dnsmessage.TypeA, withEDNS(1232)), []byte{})
		f.Add(packet(f, name, dnsmessage.TypeSRV), packet(f, name, dnsmessage.TypeSRV))
	}
	f.Fuzz(func(t *testing.T, p, theirs []byte) {
		q, c, ok := parse(p)
		if !ok {
			return
		}
		answer, _ := s.answer(&q, c, nil, func(k key) ([]byte, bool) {
			if len(theirs) < 4 {
				return nil, true
			}
			ours := k.packet(true)
			copy(theirs, ours[:2])
			return accept(ours, theirs, k), true
		})
		out := q.finish(answer, q.limit())
		if len(out) > q.limit() {
			t.Fatalf("%d bytes", len(out))
		}
		if err := records(out, func(record) {}); err != nil {
			t.Fatalf("not a message: %x", out)
		}
		lifetime(answer)
	})
}
