package network

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/network/conntrack"
)

func TestServicesByIPv6(t *testing.T) { bridged(t, "ip6tables", testServicesByIPv6) }

func testServicesByIPv6(t *testing.T) {
	t.Helper()
	next := outside6(t)
	n := open6(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	c, addrC := pod(t, n, "pod-c")
	sixA, sixB, sixC, router := n.Address6(addrA), n.Address6(addrB), n.Address6(addrC), n.Gateway6().String()
	toA, toB := tell(t, a, sixA, "a"), tell(t, b, sixB, "b")
	at := func(number int) netip.Addr { return place(n.ServiceCIDR6(), number) }
	six := func(number int, backends ...string) runtime.Service {
		s := service(n, number, 80, backends...)
		s.ClusterIPs = append(s.ClusterIPs, at(number))
		return s
	}
	web := six(20, toA, toB, tell(t, a, addrA, "four"))
	web.ExternalIPs = []netip.Addr{netip.MustParseAddr("2001:db8:7::7")}
	out := six(24, tell(t, next, netip.MustParseAddr("2001:db8::2"), "next"))
	sticky := six(26, toA, toB)
	sticky.AffinitySeconds = 60
	n.mustServe(t, netip.AddrPort{}, web, six(21, toA), six(22), six(23, "[::1]:80", "[fe80::1]:80", "[::ffff:127.0.0.1]:80"), out, sticky)
	in(t, next, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: mask(netip.MustParsePrefix("2001:db8:7::/64")), Gw: net.ParseIP("2001:db8::1")})
	})
	address := func(number int) string { return netip.AddrPortFrom(at(number), 80).String() }
	tests := map[string]struct {
		from *os.File
		to   string
		want []string // none: refused
	}{
		"from a pod":                   {c, address(20), []string{"a " + sixC.String(), "b " + sixC.String()}},
		"from the machine":             {machineNetns(t), address(20), []string{"a " + router, "b " + router}},
		"from a backend":               {b, address(20), []string{"a " + sixB.String(), "b " + router}},
		"to itself":                    {a, address(21), []string{"a " + router}},
		"external, from outside":       {next, "[2001:db8:7::7]:80", []string{"a 2001:db8::2", "b 2001:db8::2"}},
		"by IPv4 to the same":          {c, place(n.serviceCIDR, 20).String() + ":80", []string{"four " + addrC.String()}},
		"no backends":                  {c, address(22), nil},
		"no backends, from machine":    {machineNetns(t), address(22), nil},
		"another port":                 {c, strings.TrimSuffix(address(20), "80") + "81", nil},
		"nobody's address":             {c, address(99), nil},
		"loopback is not for Services": {c, address(23), nil},
		"a backend outside":            {c, address(24), []string{"next 2001:db8::1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { wantAnswers(t, tt.from, tt.to, tt.want) })
	}
	t.Run("affinity", func(t *testing.T) {
		first, err := ask(t, c, address(26), patience)
		for range 20 {
			got, again := ask(t, c, address(26), patience)
			if err != nil || again != nil || got != first {
				t.Fatalf("got %q, %v after %q, %v", got, again, first, err)
			}
		}
	})
	t.Run("datagrams are refused", func(t *testing.T) {
		// A pod is told so some times in a second at most, and not while the kernel uses that up for hints at shorter ways, which nobody hears.
		udp := dialUDP(t, c, netip.AddrPortFrom(at(22), 53).String())
		eventually(t, "being refused", func() bool {
			_, err := sayFor(udp, 50*time.Millisecond)
			return refused(err)
		})
	})
}

// A backend that left gets nothing more, a new one with its address nothing that was meant for it.
func TestIPv6ConnectionsAreForgotten(t *testing.T) {
	n := open6(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	c, addrC := pod(t, n, "pod-c")
	sixA, sixB := n.Address6(addrA), n.Address6(addrB)
	serveUDP := func(to netip.AddrPort) runtime.Service {
		return runtime.Service{ClusterIPs: []netip.Addr{place(n.ServiceCIDR6(), 20)}, Ports: []runtime.ServicePort{{Protocol: runtime.UDP, Port: 53, Backends: []netip.AddrPort{to}}}}
	}
	toA, toB := echo(t, a, sixA, "a"), echo(t, b, sixB, "b")
	n.mustServe(t, netip.AddrPort{}, serveUDP(toA))
	client := dialUDP(t, c, netip.AddrPortFrom(place(n.ServiceCIDR6(), 20), 53).String())
	if got, err := say(client); err != nil || got != "a" {
		t.Fatalf("got %q, %v", got, err)
	}
	n.mustServe(t, netip.AddrPort{}, serveUDP(toB))
	if got, err := say(client); err != nil || got != "b" {
		t.Errorf("after a left: got %q, %v", got, err)
	}
	sixC := n.Address6(addrC)
	counted := func(among conntrack.Among) (count int) {
		among.IPv6 = true
		if err := conntrack.Forget(among, func(f conntrack.Flow) bool {
			if f.From.Addr() == sixC && f.Answers == toB {
				count++
			}
			return false
		}); err != nil {
			t.Fatal(err)
		}
		return count
	}
	if got := counted(conntrack.Among{Protocol: unix.IPPROTO_UDP}); got != 1 {
		t.Errorf("%d connections of c by UDP, want 1", got)
	}
	if got := counted(conntrack.Among{Protocol: unix.IPPROTO_TCP}); got != 0 {
		t.Errorf("%d connections of c by TCP, want none", got)
	}
	if err := n.forgetAddresses(map[netip.Addr]bool{addrC: true}); err != nil || flows(t, sixC) != 0 {
		t.Errorf("%d connections of c are remembered, %v", flows(t, sixC), err)
	}
	_, _ = say(client)
	n.Release("pod-c")
	n.strangersForgotten = false
	if err := n.forgetStrangers(); err != nil || flows(t, sixC) != 0 {
		t.Errorf("%d connections of nobody are remembered, %v", flows(t, sixC), err)
	}
}

func TestPoliciesByIPv6(t *testing.T) { bridged(t, "ip6tables", testPoliciesByIPv6) }

func testPoliciesByIPv6(t *testing.T) {
	t.Helper()
	next := outside6(t)
	n := open6(t)
	a, addrA := pod(t, n, "pod-a") // may be reached by b at one port, and by some of the outside; may reach itself
	b, addrB := pod(t, n, "pod-b")
	c, addrC := pod(t, n, "pod-c") // may go to a and to one address outside
	sixA, sixB, sixC := n.Address6(addrA), n.Address6(addrB), n.Address6(addrC)
	open, shut, free := tell(t, a, sixA, "a"), tell(t, a, sixA, "a"), tell(t, b, sixB, "b")
	beyond := tell(t, next, netip.MustParseAddr("2001:db8::2"), "next")
	web := runtime.Service{ClusterIPs: []netip.Addr{place(n.ServiceCIDR6(), 20)}, Ports: []runtime.ServicePort{
		{Protocol: runtime.TCP, Port: 80, Backends: []netip.AddrPort{netip.MustParseAddrPort(open)}},
		{Protocol: runtime.TCP, Port: 81, Backends: []netip.AddrPort{netip.MustParseAddrPort(free)}},
	}}
	n.mustServe(t, netip.AddrPort{}, web)
	policies := func(blocks ...runtime.AddrRange) runtime.Policies {
		return runtime.Policies{
			Groups: []runtime.PolicyGroup{
				{Name: "egress-1", Direction: runtime.Outgoing, Pods: []netip.Addr{addrC, sixC}, Rules: []runtime.PolicyRule{{Peers: "peers-a"}, {Blocks: blocks}}},
				{Name: "ingress-1", Direction: runtime.Incoming, Pods: []netip.Addr{addrA, sixA}, Rules: []runtime.PolicyRule{{Peers: "peers-b", Ports: []runtime.PortRange{{Protocol: runtime.TCP, First: port(open), Last: port(open)}}}}},
			},
			Peers: []runtime.PolicyPeers{{Name: "peers-a", Pods: []netip.Addr{addrA, sixA}}, {Name: "peers-b", Pods: []netip.Addr{addrB, sixB}}},
		}
	}
	n.mustJudge(t, policies(block("10.0.0.0", "10.0.0.9"), block("2001:db8::2", "2001:db8::2"), block("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")))
	to := func(port string) string { return "[" + place(n.ServiceCIDR6(), 20).String() + "]:" + port }
	for name, tt := range map[string]struct {
		from *os.File
		to   string
		pass bool
	}{
		"b to a":                      {b, open, true},
		"b to a, another port":        {b, shut, false},
		"b to a's Service":            {b, to("80"), true},
		"c to a, who does not let it": {c, open, false},
		"c to b":                      {c, free, false},
		"c to b's Service":            {c, to("81"), false},
		"c to the outside":            {c, beyond, true},
		"a to itself, by its Service": {a, to("80"), true},
		"the machine to a":            {machineNetns(t), shut, true},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := patience
			if !tt.pass {
				timeout = blocked
			}
			if got, err := ask(t, tt.from, tt.to, timeout); (err == nil) != tt.pass {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	t.Run("past the machine", func(t *testing.T) {
		testPast(t, c, udp6(macOf(addrC), macOf(addrB), sixC, sixB, markerPort), b, sixB, n.Gateway6())
	})
	n.mustJudge(t, policies())
	if got, err := ask(t, c, beyond, blocked); err == nil {
		t.Errorf("c to the outside, no more allowed: got %q", got)
	}
	n.mustJudge(t, runtime.Policies{})
	if got := policyTables(t, n); len(got) != 0 {
		t.Errorf("tables of families %v are left", got)
	}
	if got, err := ask(t, c, free, patience); err != nil {
		t.Errorf("c to b, free again: got %q, %v", got, err)
	}
}
