package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"berth/runtime"
)

// silence is how long nothing may come back from what is forbidden.
const silence = 150 * time.Millisecond

func (n *Network) mustJudge(t testing.TB, p runtime.Policies) {
	t.Helper()
	if err := n.SetPolicies(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// policyTables are those that exist.
func policyTables(t *testing.T, n *Network) (found []nftables.TableFamily) {
	t.Helper()
	tables, err := (&nftables.Conn{}).ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if table.Name == n.cfg.policies() {
			found = append(found, table.Family)
		}
	}
	return found
}

func block(first, last string) runtime.AddrRange {
	return runtime.AddrRange{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}
}

func port(of string) uint16 { return netip.MustParseAddrPort(of).Port() }

func TestPolicies(t *testing.T) { bridged(t, "iptables", testPolicies) }

func testPolicies(t *testing.T) {
	t.Helper()
	next := outside(t)
	n := open(t)
	a, addrA := pod(t, n, "pod-a") // may be reached by b at one port, and by some of the outside; may reach itself
	b, addrB := pod(t, n, "pod-b") // free
	c, addrC := pod(t, n, "pod-c") // may go to a, to names and to one address outside
	machine := machineNetns(t)
	open, shut := tell(t, a, addrA, "a"), tell(t, a, addrA, "a")
	free, home := tell(t, b, addrB, "b"), tell(t, machine, n.Gateway(), "machine")
	beyond := tell(t, next, netip.MustParseAddr("198.51.100.2"), "next")
	dns := echo(t, machine, n.Gateway(), "dns")
	web, closed := service(n, 20, 80, open), service(n, 21, 80, shut)
	web.ExternalIPs = []netip.Addr{netip.MustParseAddr("203.0.113.7")}
	n.mustServe(t, dns, web, closed)
	in(t, next, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: mask(netip.MustParsePrefix("203.0.113.0/24")), Gw: net.IPv4(198, 51, 100, 1)})
	})
	tcp := func(at ...string) (list []runtime.PortRange) {
		for _, s := range at {
			list = append(list, runtime.PortRange{Protocol: runtime.TCP, First: port(s), Last: port(s)})
		}
		return list
	}
	policies := runtime.Policies{
		Groups: []runtime.PolicyGroup{
			{Name: "egress-1", Direction: runtime.Outgoing, Pods: []netip.Addr{addrC}, Rules: []runtime.PolicyRule{
				{Peers: "peers-a"},
				{Peers: "peers-dns", Ports: []runtime.PortRange{{Protocol: runtime.UDP, First: 53, Last: 53}}},
				{Blocks: []runtime.AddrRange{block("198.51.100.2", "198.51.100.2"), block("240.0.0.0", "255.255.255.255")}},
			}},
			{Name: "ingress-1", Direction: runtime.Incoming, Pods: []netip.Addr{addrA}, Rules: []runtime.PolicyRule{
				{Peers: "peers-b", Blocks: []runtime.AddrRange{block("198.51.100.0", "198.51.100.9"), block("2001:db8::", "2001:db8::1")}, Ports: tcp(open)},
			}},
		},
		Peers: []runtime.PolicyPeers{
			{Name: "peers-a", Pods: []netip.Addr{addrA}}, {Name: "peers-b", Pods: []netip.Addr{addrB}}, {Name: "peers-dns", Pods: []netip.Addr{n.ClusterDNS()}},
		},
	}
	address := func(number int) string { return place(n.serviceCIDR, number).String() + ":80" }
	kept := dialUDP(t, c, dns.String())
	if got, err := say(kept); err != nil || got != "dns" {
		t.Fatalf("before: %q, %v", got, err)
	}
	n.mustJudge(t, policies)
	if got, err := say(kept); err != nil || got != "dns" {
		t.Errorf("a connection that is open: %q, %v", got, err)
	}
	tests := map[string]struct {
		from *os.File
		to   string
		pass bool
	}{
		"b to a":                           {b, open, true},
		"b to a, another port":             {b, shut, false},
		"b to a's Service":                 {b, address(20), true},
		"b to a's other Service":           {b, address(21), false},
		"c to a":                           {c, open, false},
		"c to a's Service":                 {c, address(20), false},
		"c to b":                           {c, free, false},
		"c to the outside":                 {c, beyond, true},
		"c to the machine":                 {c, home, false},
		"a to itself, by its Service":      {a, address(21), true},
		"a to b":                           {a, free, true},
		"a to the machine":                 {a, home, true},
		"the machine to a":                 {machine, shut, true},
		"the machine to a's Service":       {machine, address(21), true},
		"the outside to an external IP":    {next, "203.0.113.7:80", true},
		"b to the outside":                 {b, beyond, true},
		"b to a port where nobody listens": {b, addrB.String() + ":1", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			timeout := patience
			if !tt.pass {
				timeout = silence
			}
			if got, err := ask(t, tt.from, tt.to, timeout); (err == nil) != tt.pass {
				t.Errorf("%s: got %q, %v", tt.to, got, err)
			}
		})
	}
	t.Run("names", func(t *testing.T) {
		if got, err := say(dialUDP(t, c, n.ClusterDNS().String()+":53")); err != nil || got != "dns" {
			t.Errorf("c asks: %q, %v", got, err)
		}
		conn := dialUDP(t, c, dns.String())
		if got, err := sayFor(conn, silence); err == nil {
			t.Errorf("c asks the machine itself: %q", got)
		}
	})
	t.Run("others of the outside", func(t *testing.T) {
		narrow := policies
		narrow.Groups = slices.Clone(policies.Groups)
		narrow.Groups[1] = runtime.PolicyGroup{Name: "ingress-2", Direction: runtime.Incoming, Pods: []netip.Addr{addrA}, Rules: []runtime.PolicyRule{
			{Blocks: []runtime.AddrRange{block("198.51.100.3", "198.51.100.9")}},
		}}
		n.mustJudge(t, narrow)
		if got, err := ask(t, next, "203.0.113.7:80", silence); err == nil {
			t.Errorf("got %q", got)
		}
	})
	t.Run("past the machine", func(t *testing.T) {
		testPast(t, c, udp(macOf(addrC), macOf(addrB), addrC, addrB, markerPort), b, addrB, n.Gateway())
	})
	n.mustJudge(t, runtime.Policies{})
	if left := policyTables(t, n); len(left) > 0 {
		t.Errorf("nobody is restricted, and there are tables: %v", left)
	}
	if got, err := ask(t, c, free, patience); err != nil {
		t.Errorf("c to b, not restricted any more: %q, %v", got, err)
	}
}

// testPast sends a datagram in a frame for pod b, which no rule for IP sees, and then one of the machine's, which is allowed.
func testPast(t *testing.T, c *os.File, frame []byte, b *os.File, addrB, machine netip.Addr) {
	t.Helper()
	heard := make(chan string, 2)
	var conn *net.UDPConn
	in(t, b, func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addrB, markerPort)))
		return err
	})
	defer conn.Close()
	go func() {
		for {
			_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 1))
			if err != nil {
				return
			}
			heard <- from.Addr().String()
		}
	}()
	send(t, c, frame)
	in(t, machineNetns(t), func() error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(addrB, markerPort).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(nil)
		return err
	})
	if from := <-heard; from != machine.String() {
		t.Errorf("heard %s", from)
	}
}

func sayFor(conn net.Conn, timeout time.Duration) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(timeout))
	if _, err := conn.Write([]byte("?")); err != nil {
		return "", err
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

// Changes go to the kernel as elements where pods come and go, and leave nothing behind when policies do.
func TestPoliciesChange(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	at := tell(t, a, addrA, "a")
	group := func(name string, pods []netip.Addr, rules ...runtime.PolicyRule) runtime.PolicyGroup {
		return runtime.PolicyGroup{Name: name, Direction: runtime.Incoming, Pods: pods, Rules: rules}
	}
	peers := func(name string, pods ...netip.Addr) runtime.PolicyPeers {
		return runtime.PolicyPeers{Name: name, Pods: pods}
	}
	only := func(g runtime.PolicyGroup, p ...runtime.PolicyPeers) runtime.Policies {
		return runtime.Policies{Groups: []runtime.PolicyGroup{g}, Peers: p}
	}
	toA := []netip.Addr{addrA}
	steps := []struct {
		name     string
		policies runtime.Policies
		pass     bool
	}{
		{"nobody", only(group("ingress-1", toA)), false},
		{"a set", only(group("ingress-2", toA, runtime.PolicyRule{Peers: "peers-1"}), peers("peers-1")), false},
		{"b is in it", only(group("ingress-2", toA, runtime.PolicyRule{Peers: "peers-1"}), peers("peers-1", addrB)), true},
		{"b is not", only(group("ingress-2", toA, runtime.PolicyRule{Peers: "peers-1"}), peers("peers-1")), false},
		{"a block", only(group("ingress-3", toA, runtime.PolicyRule{Blocks: []runtime.AddrRange{block("0.0.0.0", "255.255.255.255")}})), true},
		{"another block", only(group("ingress-4", toA, runtime.PolicyRule{Blocks: []runtime.AddrRange{block("0.0.0.0", "9.255.255.255"), block("11.0.0.0", "11.0.0.3"), block("11.0.0.5", "11.0.0.9")}})), false},
		{"everybody", only(group("ingress-5", toA, runtime.PolicyRule{Everybody: true})), true},
		{"every port by UDP", only(group("ingress-6", toA, runtime.PolicyRule{Everybody: true, Ports: []runtime.PortRange{{Protocol: runtime.UDP, Last: 65535}}})), false},
		{"a range of ports", only(group("ingress-7", toA, runtime.PolicyRule{Everybody: true, Ports: []runtime.PortRange{{Protocol: runtime.TCP, First: port(at) - 1, Last: port(at) + 1}}})), true},
		{"a range below", only(group("ingress-8", toA, runtime.PolicyRule{Everybody: true, Ports: []runtime.PortRange{{Protocol: runtime.TCP, First: 1, Last: port(at) - 1}}})), false},
		{"SCTP", only(group("ingress-9", toA, runtime.PolicyRule{Everybody: true, Ports: []runtime.PortRange{{Protocol: runtime.SCTP, Last: 65535}}})), false},
		{"another pod", only(group("ingress-9", []netip.Addr{addrB}, runtime.PolicyRule{Everybody: true, Ports: []runtime.PortRange{{Protocol: runtime.SCTP, Last: 65535}}})), true},
	}
	for _, s := range steps {
		n.mustJudge(t, s.policies)
		timeout := patience
		if !s.pass {
			timeout = silence
		}
		if got, err := ask(t, b, at, timeout); (err == nil) != s.pass {
			t.Errorf("%s: got %q, %v", s.name, got, err)
		}
		want := 2 + len(s.policies.Groups) // the chains at hooks
		if got := chainsOf(t, n); len(got) != want {
			t.Errorf("%s: chains %v, want %d", s.name, got, want)
		}
		for _, set := range setsOf(t, n) {
			named := slices.ContainsFunc(s.policies.Peers, func(p runtime.PolicyPeers) bool { return p.Name == set })
			if strings.HasPrefix(set, "peers-") && !named {
				t.Errorf("%s: set %s is left", s.name, set)
			}
		}
	}
}

func chainsOf(t *testing.T, n *Network) (names []string) {
	t.Helper()
	chains, err := (&nftables.Conn{}).ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range chains {
		if c.Table.Name == n.cfg.policies() {
			names = append(names, c.Name)
		}
	}
	return names
}

func setsOf(t *testing.T, n *Network) (names []string) {
	t.Helper()
	sets, err := (&nftables.Conn{}).GetSets(&nftables.Table{Name: n.cfg.policies(), Family: nftables.TableFamilyIPv4})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sets {
		names = append(names, s.Name)
	}
	return names
}

// A new start of berth changes nothing until it knows the policies, and what others take away comes back.
func TestPoliciesSurvive(t *testing.T) {
	before := machineState(t)
	cfg := newConfig(t)
	n := mustOpen(t, cfg)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	at := tell(t, a, addrA, "a")
	nobody := runtime.Policies{Groups: []runtime.PolicyGroup{{Name: "ingress-1", Direction: runtime.Incoming, Pods: []netip.Addr{addrA}}}}
	n.mustJudge(t, nobody)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = mustOpen(t, cfg)
	t.Cleanup(func() {
		removeUnder(t, n)
		if after := machineState(t); !slices.Equal(before, after) {
			t.Errorf("something is left or missing:\nbefore %v\nafter  %v", before, after)
		}
	})
	for uid, addr := range map[string]netip.Addr{"pod-a": addrA, "pod-b": addrB} {
		if err := n.Reserve(uid, addr); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ask(t, b, at, silence); err == nil {
		t.Errorf("after a new start: got %q", got)
	}
	n.mustJudge(t, nobody)
	run(t, n)
	for _, damage := range []func(*nftables.Conn){
		func(c *nftables.Conn) { c.FlushRuleset() },
		func(c *nftables.Conn) {
			c.DelTable(&nftables.Table{Name: cfg.policies(), Family: nftables.TableFamilyIPv4})
		},
	} {
		conn := &nftables.Conn{}
		damage(conn)
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the tables", func() bool { return len(policyTables(t, n)) == 2 && len(chainsOf(t, n)) == 3 })
		if got, err := ask(t, b, at, silence); err == nil {
			t.Errorf("after a damage: got %q", got)
		}
	}
}

// manyPolicies restrict 300 pods both ways, 100 of them, each by its own set of 30 peers. One pod has moved to another address, one policy is for
// another range of ports.
func manyPolicies(moved, ports int) (p runtime.Policies) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(i / 250), byte(i % 250)}) }
	const policies, pods, peers = 100, 300, 30
	at := func(i int) netip.Addr {
		if i == 7 {
			i = pods + moved
		}
		return addr(i)
	}
	for i := range policies {
		set := runtime.PolicyPeers{Name: fmt.Sprint("peers-", i)}
		for j := range peers {
			set.Pods = append(set.Pods, at((i*3+j)%pods))
		}
		p.Peers = append(p.Peers, set)
	}
	for _, d := range []runtime.Direction{runtime.Incoming, runtime.Outgoing} {
		for i := range policies {
			g := runtime.PolicyGroup{Name: fmt.Sprint(d, "-", i), Direction: d, Rules: []runtime.PolicyRule{
				{Peers: p.Peers[i].Name, Ports: []runtime.PortRange{{Protocol: runtime.TCP, First: 80, Last: 90}}},
			}}
			if i == 0 {
				g.Name += fmt.Sprint("-", ports)
				g.Rules[0].Ports[0].Last += uint16(ports)
			}
			for j := range pods / policies {
				g.Pods = append(g.Pods, at(i*3+j))
			}
			p.Groups = append(p.Groups, g)
		}
	}
	return p
}

// The kernel answers each message of a batch: there is room for all answers.
func TestManyPolicies(t *testing.T) {
	n := open(t)
	n.mustJudge(t, manyPolicies(0, 0))
	if got := len(chainsOf(t, n)); got != 202 {
		t.Errorf("%d chains", got)
	}
	n.mustJudge(t, manyPolicies(1, 1))
	n.mustJudge(t, runtime.Policies{})
}

// BenchmarkPolicies is what it costs to judge otherwise: when one pod goes and another comes, and when one policy changes.
func BenchmarkPolicies(b *testing.B) {
	for name, change := range map[string]func(n int) runtime.Policies{
		"pod":    func(n int) runtime.Policies { return manyPolicies(n, 0) },
		"policy": func(n int) runtime.Policies { return manyPolicies(0, n) },
	} {
		b.Run(name, func(b *testing.B) {
			n := mustOpen(b, newConfig(b))
			defer func() { _ = n.Remove(b.Context()) }()
			start := time.Now()
			n.mustJudge(b, manyPolicies(0, 0))
			b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms-for-all")
			var turns []runtime.Policies
			for i := range 500 {
				turns = append(turns, change(i+1))
			}
			for i := 0; b.Loop(); i++ {
				n.mustJudge(b, turns[i%len(turns)])
			}
		})
	}
}
