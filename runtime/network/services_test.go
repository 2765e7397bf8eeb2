package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// service is one that has these backends, at the address with this number.
func service(n *Network, number int, port uint16, backends ...string) runtime.Service {
	p := runtime.ServicePort{Protocol: runtime.TCP, Port: port}
	for _, b := range backends {
		p.Backends = append(p.Backends, netip.MustParseAddrPort(b))
	}
	return runtime.Service{Namespace: "default", Name: "web", ClusterIPs: []netip.Addr{place(n.serviceCIDR, number)}, Ports: []runtime.ServicePort{p}}
}

func (n *Network) mustServe(t testing.TB, dns netip.AddrPort, services ...runtime.Service) {
	t.Helper()
	if err := n.SetServices(t.Context(), services, dns); err != nil {
		t.Fatal(err)
	}
}

func machineNetns(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// refused says whether a connection is refused, and not just never answered.
func refused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// wantAnswers asks so often that each of some backends has answered, and wants the first word of each of these answers, and no other answer; of none, to be refused.
func wantAnswers(t *testing.T, from *os.File, to string, want []string) {
	t.Helper()
	if len(want) == 0 {
		if got, err := ask(t, from, to, patience); !refused(err) {
			t.Fatalf("got %q, %v, want it refused", got, err)
		}
		return
	}
	unheard := map[string]bool{}
	for _, w := range want {
		unheard[strings.Fields(w)[0]] = true
	}
	for range 40 {
		got, err := ask(t, from, to, patience)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(want, got) {
			t.Fatalf("got %q, want one of %q", got, want)
		}
		delete(unheard, strings.Fields(got)[0])
	}
	if len(unheard) > 0 {
		t.Errorf("nobody answered %v", unheard)
	}
}

func TestServices(t *testing.T) { bridged(t, "iptables", testServices) }

func testServices(t *testing.T) {
	t.Helper()
	next := outside(t)
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	c, addrC := pod(t, n, "pod-c")
	machine := machineNetns(t)
	toA, toB := tell(t, a, addrA, "a"), tell(t, b, addrB, "b")
	web := service(n, 20, 80, toA, toB)
	web.ExternalIPs = []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("198.51.100.1")}
	own := service(n, 21, 80, toA)
	empty := service(n, 22, 80)
	empty.ExternalIPs = []netip.Addr{netip.MustParseAddr("203.0.113.8")}
	evil := service(n, 23, 80, "127.0.0.1:"+strings.Split(toA, ":")[1], "169.254.169.254:80")
	out := service(n, 24, 80, tell(t, next, netip.MustParseAddr("198.51.100.2"), "next"))
	here := service(n, 25, 80, tell(t, machine, n.Gateway(), "here"))
	n.mustServe(t, netip.AddrPort{}, web, own, empty, evil, out, here)
	in(t, next, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: mask(netip.MustParsePrefix("203.0.113.0/24")), Gw: net.IPv4(198, 51, 100, 1)})
	})
	address := func(number int) string { return place(n.serviceCIDR, number).String() + ":80" }
	tests := map[string]struct {
		from *os.File
		to   string
		want []string // none: refused
	}{
		"from a pod":                   {c, address(20), []string{"a " + addrC.String(), "b " + addrC.String()}},
		"from the machine":             {machine, address(20), []string{"a " + n.Gateway().String(), "b " + n.Gateway().String()}},
		"from a backend":               {b, address(20), []string{"a " + addrB.String(), "b " + n.Gateway().String()}},
		"to itself":                    {a, address(21), []string{"a " + n.Gateway().String()}},
		"external, from outside":       {next, "203.0.113.7:80", []string{"a 198.51.100.2", "b 198.51.100.2"}},
		"external, the machine's own":  {next, "198.51.100.1:80", []string{"a 198.51.100.2", "b 198.51.100.2"}},
		"external, from a pod":         {c, "203.0.113.7:80", []string{"a " + addrC.String(), "b " + addrC.String()}},
		"external, from the machine":   {machine, "203.0.113.7:80", []string{"a " + n.Gateway().String(), "b " + n.Gateway().String(), "a 198.51.100.1", "b 198.51.100.1"}},
		"no backends":                  {c, address(22), nil},
		"no backends, from machine":    {machine, address(22), nil},
		"no backends, external":        {next, "203.0.113.8:80", nil},
		"another port":                 {c, strings.Replace(address(20), ":80", ":81", 1), nil},
		"nobody's address":             {c, address(99), nil},
		"nobody's, from the machine":   {machine, address(99), nil},
		"loopback is not for Services": {c, address(23), nil},
		"a backend outside":            {c, address(24), []string{"next 198.51.100.1"}},
		"a backend outside, from here": {machine, address(24), []string{"next 198.51.100.1"}},
		"the machine as a backend":     {c, address(25), []string{"here " + addrC.String()}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { wantAnswers(t, tt.from, tt.to, tt.want) })
	}
	t.Run("outside may not send to the range itself", func(t *testing.T) {
		in(t, next, func() error {
			return netlink.RouteAdd(&netlink.Route{
				Dst: mask(n.serviceCIDR), Gw: net.IPv4(198, 51, 100, 1),
			})
		})
		if got, err := ask(t, next, address(20), blocked); err == nil {
			t.Errorf("got %q", got)
		}
	})
}

func TestEveryBackendIsUsedAndWhoLeftIsNot(t *testing.T) {
	n := open(t)
	c, _ := pod(t, n, "client")
	var backends []string
	for i := range 5 {
		uid := fmt.Sprint("pod-", i)
		ns, addr := pod(t, n, uid)
		backends = append(backends, tell(t, ns, addr, fmt.Sprint(i)))
	}
	address := place(n.serviceCIDR, 20).String() + ":80"
	for _, set := range [][]int{{0, 1, 2}, {0, 1, 2, 3, 4}, {4, 3}, {2}, {}, {1, 2}} {
		var to []string
		for _, i := range set {
			to = append(to, backends[i])
		}
		n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, to...), service(n, 21, 80, backends[0]))
		seen := map[string]int{}
		for range 60 * len(set) {
			got, err := ask(t, c, address, patience)
			if err != nil {
				t.Fatalf("%v: %v", set, err)
			}
			seen[strings.Fields(got)[0]]++
		}
		for _, i := range set {
			if seen[fmt.Sprint(i)] < 10 {
				t.Errorf("%v: %v", set, seen)
			}
		}
		if len(seen) != len(set) {
			t.Errorf("%v: %v", set, seen)
		}
		if _, err := ask(t, c, address, patience); len(set) == 0 && !refused(err) {
			t.Errorf("no backends: got %v", err)
		}
	}
	n.mustServe(t, netip.AddrPort{})
	if _, err := ask(t, c, address, patience); !refused(err) {
		t.Errorf("no Service: got %v", err)
	}
}

// However often the table changes, nobody who connects meanwhile finds nobody there.
func TestNobodyIsRefusedWhileTheTableChanges(t *testing.T) {
	n := open(t)
	var backends []string
	for i := range 4 {
		ns, addr := pod(t, n, fmt.Sprint("pod-", i))
		backends = append(backends, tell(t, ns, addr, fmt.Sprint(i)))
	}
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, backends...))
	address := place(n.serviceCIDR, 20).String() + ":80"
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var group sync.WaitGroup
	var connections, changes atomic.Int64
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := askHere(address, patience); err != nil {
					t.Errorf("after %d connections: %v", connections.Load(), err)
					return
				}
				connections.Add(1)
			}
		})
	}
	for ctx.Err() == nil {
		for _, set := range [][]string{backends[:1], backends[1:], backends[3:], backends} {
			if _, err := n.filter.SetServices([]runtime.Service{service(n, 20, 80, set...)}, n.ClusterDNS(), netip.AddrPort{}); err != nil {
				t.Fatal(err)
			}
			changes.Add(1)
		}
	}
	group.Wait()
	t.Logf("%d connections, %d changes", connections.Load(), changes.Load())
}

func TestAffinity(t *testing.T) {
	n := open(t)
	var pods []*os.File
	var backends []string
	for i := range 6 {
		ns, addr := pod(t, n, fmt.Sprint("pod-", i))
		pods = append(pods, ns)
		backends = append(backends, tell(t, ns, addr, fmt.Sprint("b", i)))
	}
	c := pods[0]
	address := place(n.serviceCIDR, 20).String() + ":80"
	serve := func(seconds int32, backends ...string) {
		s := service(n, 20, 80, backends...)
		s.AffinitySeconds = seconds
		n.mustServe(t, netip.AddrPort{}, s)
	}
	who := func(ns *os.File) string {
		got, err := ask(t, ns, address, patience)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(got)[0]
	}
	stays := func() string {
		t.Helper()
		first := who(c)
		for range 20 {
			if got := who(c); got != first {
				t.Fatalf("got %s after %s", got, first)
			}
		}
		return first
	}
	serve(10, backends[1:]...)
	first := stays()
	// What the administrator's nft cannot print ends it: version 1.0.6 gives up on a key that was looked up.
	if path, err := exec.LookPath("nft"); err == nil {
		if out, err := exec.Command(path, "list", "table", "ip", n.cfg.services()).CombinedOutput(); err != nil {
			t.Errorf("nft list: %v: %s", err, out)
		}
	}
	others := map[string]bool{first: true}
	for _, ns := range pods {
		others[who(ns)] = true
	}
	if len(others) < 2 {
		t.Error("all clients have the same backend")
	}
	serve(10, backends[1:5]...)
	if first != "b5" {
		if got := stays(); got != first {
			t.Errorf("others left: got %s, want %s", got, first)
		}
	}
	var left []string
	for i, b := range backends {
		if i > 0 && fmt.Sprint("b", i) != first {
			left = append(left, b)
		}
	}
	serve(10, left...)
	second := stays()
	if second == first {
		t.Errorf("got %s, which left", first)
	}
	serve(10, backends[1:]...)
	if got := stays(); got != second {
		t.Errorf("it came back: got %s, want %s", got, second)
	}
	serve(0, backends[1:]...)
	seen := map[string]bool{}
	for range 60 {
		seen[who(c)] = true
	}
	if len(seen) < 4 {
		t.Errorf("without affinity: %v", seen)
	}
}

// echo answers datagrams in a namespace with a word.
func echo(t *testing.T, netns *os.File, addr netip.Addr, word string) netip.AddrPort {
	t.Helper()
	var conn *net.UDPConn
	in(t, netns, func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort([]byte(word), from)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func dialUDP(t *testing.T, netns *os.File, to string) net.Conn {
	t.Helper()
	var conn net.Conn
	in(t, netns, func() (err error) {
		conn, err = net.Dial("udp", to)
		return err
	})
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func say(conn net.Conn) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("?")); err != nil {
		return "", err
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func TestDatagramsFollowTheBackends(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	c, _ := pod(t, n, "pod-c")
	toA, toB := echo(t, a, addrA, "a"), echo(t, b, addrB, "b")
	with := func(backends ...netip.AddrPort) runtime.Service {
		s := service(n, 20, 9000)
		s.Ports[0].Protocol, s.Ports[0].Backends = runtime.UDP, backends
		return s
	}
	n.mustServe(t, netip.AddrPort{}, with(toA))
	conn := dialUDP(t, c, place(n.serviceCIDR, 20).String()+":9000")
	for _, step := range []struct {
		backends []netip.AddrPort
		want     string
	}{{[]netip.AddrPort{toA}, "a"}, {[]netip.AddrPort{toB}, "b"}, {nil, ""}, {[]netip.AddrPort{toA}, "a"}, {[]netip.AddrPort{toA, toB}, "a"}, {[]netip.AddrPort{toB}, "b"}} {
		n.mustServe(t, netip.AddrPort{}, with(step.backends...))
		got, err := say(conn)
		if step.want == "" && !refused(err) || step.want != "" && err != nil || got != step.want {
			t.Errorf("%v: got %q, %v, want %q", step.backends, got, err, step.want)
		}
	}
	again := mustOpen(t, n.cfg)
	defer again.Close()
	if got, err := say(conn); err != nil || got != "b" {
		t.Errorf("a new process: got %q, %v", got, err)
	}
	again.mustServe(t, netip.AddrPort{}, with(toA))
	if got, err := say(conn); err != nil || got != "a" {
		t.Errorf("what left while nobody ran: got %q, %v", got, err)
	}
}

func TestTheDNS(t *testing.T) {
	n := open(t)
	c, _ := pod(t, n, "pod-c")
	machine := machineNetns(t)
	dns := echo(t, machine, n.Gateway(), "dns")
	l, err := net.Listen("tcp4", dns.String())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if conn, err := l.Accept(); err == nil {
			_, _ = conn.Write([]byte("dns"))
			_ = conn.Close()
		}
	}()
	defer l.Close()
	// A Service that wants the DNS's address does not get it.
	thief := service(n, dnsPlace, 53, "192.0.2.1:53")
	n.mustServe(t, dns, thief)
	address := n.ClusterDNS().String() + ":53"
	for name, ns := range map[string]*os.File{"pod": c, "machine": machine} {
		if got, err := say(dialUDP(t, ns, address)); err != nil || got != "dns" {
			t.Errorf("UDP from the %s: got %q, %v", name, got, err)
		}
	}
	if got, err := ask(t, c, address, patience); err != nil || got != "dns" {
		t.Errorf("TCP: got %q, %v", got, err)
	}
	n.mustServe(t, netip.AddrPort{})
	if _, err := say(dialUDP(t, c, address)); !refused(err) {
		t.Errorf("nobody serves it: got %v", err)
	}
}

// A connection that is open stays with its backend, and a new start of berth changes nothing until it knows the Services.
func TestServicesSurviveARestart(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	c, addrC := pod(t, n, "pod-c")
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, tell(t, a, addrA, "a")))
	again := mustOpen(t, n.cfg)
	defer again.Close()
	if again.ServiceCIDR() != n.ServiceCIDR() {
		t.Errorf("got %s, want %s", again.ServiceCIDR(), n.ServiceCIDR())
	}
	address := place(n.serviceCIDR, 20).String() + ":80"
	if got, err := ask(t, c, address, patience); err != nil || got != "a "+addrC.String() {
		t.Errorf("after a start: got %q, %v", got, err)
	}
	again.mustServe(t, netip.AddrPort{}, service(n, 20, 80, tell(t, a, addrA, "b")))
	if got, err := ask(t, c, address, patience); err != nil || got != "b "+addrC.String() {
		t.Errorf("after it knows the Services: got %q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := again.SetServices(ctx, nil, netip.AddrPort{}); err == nil {
		t.Error("an ended context sets something")
	}
}

// The machine does not tell a pod that its neighbour is nearer: no route to it is learnt.
func TestNoRedirects(t *testing.T) {
	n := open(t)
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/send_redirects", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	a, addrA := pod(t, n, "pod-a")
	b, _ := pod(t, n, "pod-b")
	var raw int
	in(t, b, func() (err error) {
		raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
		return err
	})
	defer unix.Close(raw)
	server := serve(t, a, addrA)
	for range 5 {
		if _, err := ask(t, b, server, patience); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1500)
	if count, err := unix.Read(raw, buf); err == nil {
		t.Errorf("got ICMP % x", buf[:count])
	}
}

func TestManyServices(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	c, _ := pod(t, n, "pod-c")
	to := tell(t, a, addrA, "a")
	services := func(changed int) []runtime.Service {
		var all []runtime.Service
		for i := range 1000 {
			s := service(n, 100+i, 80)
			for j := range 10 {
				s.Ports[0].Backends = append(s.Ports[0].Backends, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i % 250), byte(j + changed)}), 80))
			}
			if i%2 == 0 {
				s.AffinitySeconds = 10800
			}
			all = append(all, s)
		}
		return append(all, service(n, 20, 80, to))
	}
	for changed := range 3 {
		start := time.Now()
		n.mustServe(t, netip.AddrPort{}, services(changed)...)
		t.Logf("1,000 Services of 10 backends in %v", time.Since(start))
		if _, err := ask(t, c, place(n.serviceCIDR, 20).String()+":80", patience); err != nil {
			t.Error(err)
		}
	}
}
