package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/network/conntrack"
)

// open6 opens an instance whose pods have IPv6.
func open6(t *testing.T) *Network {
	t.Helper()
	cfg := newConfig(t)
	cfg.IPv6 = true
	return openWith(t, cfg)
}

// bridged6 is as bridged, for IPv6.
func bridged6(t *testing.T, test func(*testing.T)) {
	t.Helper()
	for _, value := range []string{"0", "1"} {
		t.Run("bridge-nf-call-ip6tables "+value, func(t *testing.T) {
			const path = "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
			was, err := os.ReadFile(path)
			if err != nil {
				t.Skip("this kernel has no br_netfilter")
			}
			t.Cleanup(func() { _ = os.WriteFile(path, was, 0o644) })
			if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
			test(t)
		})
	}
}

func TestDecideRanges6(t *testing.T) {
	p := netip.MustParsePrefix
	kept, other := p("fd12:3456:789a:1::/116"), p("fd12:3456:789a:7::/64")
	tests := map[string]struct {
		asked, kept netip.Prefix
		found       findings
		want        netip.Prefix // zero: any free one
		err         string
	}{
		"fresh":                         {},
		"kept":                          {kept: kept, want: kept},
		"kept is taken by now":          {kept: kept, found: findings{taken6: []netip.Prefix{p("fd12:3456::/32")}}},
		"taken, but pods are on it":     {kept: kept, found: findings{own6: kept, ports: true, taken6: []netip.Prefix{p("fd12:3456::/32")}}, want: kept},
		"asked for":                     {asked: p("2001:db8:1:2::3/64"), kept: kept, want: p("2001:db8:1:2::/64")},
		"asked for, taken":              {asked: other, found: findings{taken6: []netip.Prefix{p("fd12:3456:789a:7::5/128")}}, err: "fd12:3456:789a:7::5/128"},
		"asked for another, pods run":   {asked: other, found: findings{own6: kept, ports: true}, err: "berth down"},
		"asked for, pods are of IPv4":   {asked: other, found: findings{ports: true}, want: other},
		"too small":                     {asked: p("fd00::/117"), err: "4096"},
		"link-local":                    {asked: p("fe80::/64"), err: "IPv6 range"},
		"multicast":                     {asked: p("ff02::/64"), err: "IPv6 range"},
		"IPv4":                          {asked: p("10.0.0.0/8"), err: "IPv6 range"},
		"halves of a default route":     {kept: kept, found: findings{taken6: []netip.Prefix{p("::/1"), p("8000::/1"), p("2000::/3"), p("fc00::/7")}}, want: kept},
		"all private networks are used": {found: findings{taken6: []netip.Prefix{p("fd00::/8")}}, err: "--pod-cidr"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{ID: "0123abcd", IPv6: true, PodCIDR6: tt.asked}
			got, err := decideRanges6(cfg, state{PodCIDR6: tt.kept}, state{}, tt.found)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if err != nil {
				return
			}
			if tt.want.IsValid() && got.PodCIDR6 != tt.want {
				t.Errorf("got %s, want %s", got.PodCIDR6, tt.want)
			}
			if !got.IPv6 || got.PodCIDR6.Overlaps(got.ServiceCIDR6) || got.PodCIDR6.Masked() != got.PodCIDR6 || got.ServiceCIDR6.Bits() != serviceBits {
				t.Errorf("got %+v", got)
			}
			for _, taken := range tt.found.taken6 {
				if !tt.want.IsValid() && taken.Overlaps(got.PodCIDR6) {
					t.Errorf("got %s, which overlaps %s", got.PodCIDR6, taken)
				}
			}
			again, _ := decideRanges6(Config{ID: "0123abcd"}, got, state{}, tt.found)
			if again.IPv6 || again.PodCIDR6 != got.PodCIDR6 || again.ServiceCIDR6 != got.ServiceCIDR6 {
				t.Errorf("without it: %+v, want the ranges kept", again)
			}
		})
	}
}

func TestAliasOfSettings(t *testing.T) {
	all := settings{true, true, settings6{true, "eth0 wlan0.5,1"}}
	for _, s := range []settings{{}, all, {RedirectsWereOn: true}, {settings6: settings6{Forwarding6WasOff: true}}, {ForwardingWasOff: true, settings6: settings6{Advertised: "eth0"}}} {
		if got := settingsOf(s.alias()); got != s {
			t.Errorf("%q is read as %+v, want %+v", s.alias(), got, s)
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprint("eth", i))
	}
	all.Advertised = strings.Join(many, " ")
	got := settingsOf(all.alias())
	if len(all.alias()) > longestAlias || !got.Forwarding6WasOff || !strings.HasPrefix(all.Advertised, got.Advertised+" ") {
		t.Errorf("%d bytes: %+v", len(all.alias()), got)
	}
}

func TestPodsTalkByIPv6(t *testing.T) {
	n := open6(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	sixA, sixB := n.Address6(addrA), n.Address6(addrB)
	server := serve(t, a, sixA)
	if got, err := ask(t, b, server, patience); err != nil || got != sixB.String() {
		t.Errorf("pod to pod: got %q, %v, want %s", got, err, sixB)
	}
	if got, err := askHere(server, patience); err != nil || got != n.Gateway6().String() {
		t.Errorf("machine to pod: got %q, %v, want %s", got, err, n.Gateway6())
	}
	if got, err := ask(t, b, serve(t, machineNetns(t), n.Gateway6()), patience); err != nil || got != sixB.String() {
		t.Errorf("pod to machine: got %q, %v, want %s", got, err, sixB)
	}
	if got, err := ask(t, b, serve(t, a, addrA), patience); err != nil || got != addrB.String() {
		t.Errorf("by IPv4: got %q, %v, want %s", got, err, addrB)
	}
	in(t, b, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		var have []string
		addrs, err := netlink.AddrList(eth0, unix.AF_UNSPEC)
		for _, a := range addrs {
			have = append(have, a.IPNet.String())
		}
		if want := []string{addrB.String() + "/32", sixB.String() + "/128"}; err != nil || !slices.Equal(have, want) {
			return fmt.Errorf("addresses %v, want %v (%w)", have, want, err)
		}
		if !is(conf6+"eth0/accept_ra", "0") {
			return errors.New("eth0 listens to routers")
		}
		return nil
	})
	if got := dropped(t, n, nftables.TableFamilyBridge); got != 0 {
		t.Errorf("%d honest packets were dropped", got)
	}
	n.Release("pod-b")
	if got := neighbours(t, n); !slices.Equal(got, []string{sixA.String()}) {
		t.Errorf("the machine knows %v, want %s alone", got, sixA)
	}
}

// A pod that begins has its address, however many begin: what is sent to it in the first moment arrives.
func TestIPv6IsUsableAtOnce(t *testing.T) {
	n := open6(t)
	const pods = 100
	spaces := make([]*os.File, pods)
	for i := range spaces {
		spaces[i] = newNetns(t)
	}
	begin := func(i int) error {
		uid := fmt.Sprint("pod-", i)
		addr, err := n.Allocate(uid)
		if err != nil {
			return err
		}
		if err := n.Attach(t.Context(), spaces[i], uid, addr, n.Address6(addr)); err != nil {
			return err
		}
		inside, err := udpIn(spaces[i], netip.IPv6Unspecified())
		if err != nil {
			return err
		}
		defer inside.Close()
		to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.Address6(addr), uint16(inside.LocalAddr().(*net.UDPAddr).Port)))
		outside, err := net.DialUDP("udp6", nil, to)
		if err != nil {
			return err
		}
		defer outside.Close()
		if _, err := outside.Write([]byte("?")); err != nil {
			return err
		}
		_ = inside.SetReadDeadline(time.Now().Add(patience))
		_, _, err = inside.ReadFrom(make([]byte, 1))
		return err
	}
	var group sync.WaitGroup
	for i := range pods {
		group.Go(func() {
			if err := begin(i); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// neighbours are those of IPv6 that the machine knows on the bridge without asking.
func neighbours(t *testing.T, n *Network) (known []string) {
	t.Helper()
	list, err := netlink.NeighList(int(n.bridge.Load()), unix.AF_INET6)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		if entry.State == unix.NUD_PERMANENT {
			known = append(known, entry.IP.String())
		}
	}
	return known
}

// outside6 gives the machine next door IPv6, too: 2001:db8::2, which knows of this one only that it is at 2001:db8::1.
func outside6(t *testing.T) *os.File {
	t.Helper()
	next := outside(t)
	add := func(name, address string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		return netlink.AddrAdd(l, a)
	}
	in(t, next, func() error { return add("next", "2001:db8::2/64") })
	if err := errors.Join(add("uplink", "2001:db8::1/64"), netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("2001:db8::2")})); err != nil {
		t.Fatal(err)
	}
	eventually(t, "having the address", func() bool {
		own := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: mask(netip.MustParsePrefix("2001:db8::1/128"))}
		routes, err := netlink.RouteListFiltered(unix.AF_INET6, own, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		return err == nil && len(routes) > 0
	})
	return next
}

func TestOutsideByIPv6(t *testing.T) {
	next := outside6(t)
	n := open6(t)
	a, addrA := pod(t, n, "pod-a")
	if got, err := ask(t, a, serve(t, next, netip.MustParseAddr("2001:db8::2")), patience); err != nil || got != "2001:db8::1" {
		t.Errorf("pod to outside: got %q, %v, want the machine's address", got, err)
	}
	in(t, next, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: mask(n.PodCIDR6()), Gw: net.ParseIP("2001:db8::1")})
	})
	before := dropped(t, n, nftables.TableFamilyIPv6)
	if got, err := ask(t, next, serve(t, a, n.Address6(addrA)), blocked); err == nil {
		t.Errorf("outside to pod: got %q, want it dropped", got)
	}
	if after := dropped(t, n, nftables.TableFamilyIPv6); after == before {
		t.Error("outside to pod: nothing was dropped")
	}
}

// ip6 is an Ethernet frame of IPv6.
func ip6(from, to net.HardwareAddr, source, destination netip.Addr, protocol, hops byte, body []byte) []byte {
	header := append([]byte{0x60, 0, 0, 0, byte(len(body) >> 8), byte(len(body)), protocol, hops}, source.AsSlice()...)
	return slices.Concat(to, from, []byte{0x86, 0xdd}, append(header, destination.AsSlice()...), body)
}

// checked writes the checksum of a transport header at its place.
func checked(source, destination netip.Addr, protocol byte, at int, body []byte) []byte {
	pseudo := slices.Concat(source.AsSlice(), destination.AsSlice(), []byte{0, 0, byte(len(body) >> 8), byte(len(body)), 0, 0, 0, protocol}, body)
	if len(pseudo)%2 == 1 {
		pseudo = append(pseudo, 0)
	}
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(pseudo[i])<<8 | uint32(pseudo[i+1])
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(body[at:], ^uint16(sum))
	return body
}

func udp6(from, to net.HardwareAddr, source, destination netip.Addr, port uint16) []byte {
	body := []byte{0x30, 0x39, byte(port >> 8), byte(port), 0, 8, 0, 0}
	return ip6(from, to, source, destination, unix.IPPROTO_UDP, 64, checked(source, destination, unix.IPPROTO_UDP, 6, body))
}

func icmp6(from, to net.HardwareAddr, source, destination netip.Addr, kind byte, rest ...byte) []byte {
	body := checked(source, destination, unix.IPPROTO_ICMPV6, 2, append([]byte{kind, 0, 0, 0}, rest...))
	return ip6(from, to, source, destination, unix.IPPROTO_ICMPV6, 255, body)
}

// behind puts a header of options between that of IPv6 and what follows.
func behind(frame []byte) []byte {
	const ethernet, header = 14, 40
	options := []byte{frame[ethernet+6], 0, 1, 4, 0, 0, 0, 0} // one of padding
	out := slices.Concat(frame[:ethernet+header], options, frame[ethernet+header:])
	out[ethernet+6] = unix.IPPROTO_DSTOPTS
	binary.BigEndian.PutUint16(out[ethernet+4:], binary.BigEndian.Uint16(out[ethernet+4:])+uint16(len(options)))
	return out
}

func TestWhatPodsMayNotSendByIPv6(t *testing.T) {
	n := open6(t)
	a, addrA := pod(t, n, "pod-a")
	_, addrB := pod(t, n, "pod-b")
	gateway, macA, macB := macOf(n.Gateway()), macOf(addrA), macOf(addrB)
	sixA, sixB, router := n.Address6(addrA), n.Address6(addrB), n.Gateway6()
	linkLocal, all := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1")
	macAll := net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	amazon, google := netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254")
	// An advertisement of a router: hops, flags, lifetime, two timers, and a prefix to make addresses of.
	advice := slices.Concat([]byte{64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr("2001:db8:bad::").AsSlice())
	claim := func(target netip.Addr) []byte { // an advertisement of a neighbour, overriding
		return slices.Concat([]byte{0x20, 0, 0, 0}, target.AsSlice(), []byte{2, 1}, macA)
	}
	ip, bridge := nftables.TableFamilyIPv6, nftables.TableFamilyBridge
	tests := map[string]struct {
		frame []byte
		where nftables.TableFamily // 0: it passes
	}{
		"honest datagram":                     {udp6(macA, gateway, sixA, router, 7), 0},
		"honest datagram behind options":      {behind(udp6(macA, gateway, sixA, router, 7)), 0},
		"honest echo":                         {icmp6(macA, gateway, sixA, router, 128, 0, 1, 0, 1), 0},
		"a neighbour's address":               {udp6(macA, gateway, sixB, router, 7), bridge},
		"a neighbour's MAC":                   {udp6(macB, gateway, sixA, router, 7), bridge},
		"a neighbour's both":                  {udp6(macB, gateway, sixB, router, 7), bridge},
		"the machine's address":               {udp6(macA, macB, router, sixB, 7), bridge},
		"a foreign address":                   {udp6(macA, gateway, netip.MustParseAddr("2001:db8::9"), router, 7), bridge},
		"a link-local address":                {udp6(macA, gateway, linkLocal, router, 7), bridge},
		"no address":                          {icmp6(macA, macAll, netip.IPv6Unspecified(), all, 135, claim(sixB)[:20]...), bridge},
		"a router's advice":                   {icmp6(macA, macAll, linkLocal, all, 134, advice...), bridge},
		"a router's advice, by its name":      {icmp6(macA, macAll, sixA, all, 134, advice...), bridge},
		"a router's advice, behind options":   {behind(icmp6(macA, macAll, sixA, all, 134, advice...)), bridge},
		"a neighbour's address, by discovery": {icmp6(macA, gateway, sixA, router, 136, claim(sixB)...), bridge},
		"its own address, by discovery":       {icmp6(macA, gateway, sixA, router, 136, claim(sixA)...), bridge},
		"a redirection":                       {icmp6(macA, macB, sixA, sixB, 137, make([]byte, 36)...), bridge},
		"what cannot be read":                 {ip6(macA, gateway, sixA, router, unix.IPPROTO_DSTOPTS, 64, nil), bridge},
		"what ends before it begins":          {ip6(macA, gateway, sixA, router, unix.IPPROTO_DSTOPTS, 64, []byte{unix.IPPROTO_ICMPV6, 200, 0, 0, 0, 0, 0, 0}), ip},
		"Amazon's metadata":                   {udp6(macA, gateway, sixA, amazon, 80), ip},
		"Amazon's name server":                {udp6(macA, gateway, sixA, netip.MustParseAddr("fd00:ec2::253"), 53), 0},
		"Google's metadata":                   {udp6(macA, gateway, sixA, google, 80), ip},
		"link-local metadata":                 {udp6(macA, gateway, sixA, netip.MustParseAddr("fe80::a9fe:a9fe"), 80), ip},
	}
	judged, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(router, markerPort)))
	if err != nil {
		t.Fatal(err)
	}
	defer judged.Close()
	marker := udp6(macA, gateway, sixA, router, markerPort)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := map[nftables.TableFamily]uint64{ip: dropped(t, n, ip), bridge: dropped(t, n, bridge)}
			send(t, a, tt.frame, marker)
			awaitDatagram(t, judged)
			for _, family := range []nftables.TableFamily{ip, bridge} {
				want := before[family]
				if family == tt.where {
					want++
				}
				if got := dropped(t, n, family); got != want {
					t.Errorf("family %d: %d dropped, want %d", family, got, want)
				}
			}
		})
	}
	if got := neighbours(t, n); len(got) != 2 {
		t.Errorf("the machine knows %v", got)
	}
}

func TestServicesByIPv6(t *testing.T) { bridged6(t, testServicesByIPv6) }

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
		"another port":                 {c, strings.Replace(address(20), ":80", ":81", 1), nil},
		"nobody's address":             {c, address(99), nil},
		"loopback is not for Services": {c, address(23), nil},
		"a backend outside":            {c, address(24), []string{"next 2001:db8::1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for range 40 {
				got, err := ask(t, tt.from, tt.to, patience)
				if len(tt.want) == 0 {
					if !refused(err) {
						t.Fatalf("got %q, %v, want it refused", got, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				seen[got] = true
			}
			for _, w := range tt.want {
				if !seen[w] {
					t.Errorf("nobody answered %q, but %v", w, seen)
				}
			}
			if len(seen) != len(tt.want) {
				t.Errorf("got %v, want %v", seen, tt.want)
			}
		})
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

func TestPoliciesByIPv6(t *testing.T) { bridged6(t, testPoliciesByIPv6) }

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

// Somebody takes a table of IPv6 away.
func TestIPv6TablesComeBack(t *testing.T) {
	n := open6(t)
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, "10.0.0.2:80"))
	before := rulesOf(n)
	run(t, n)
	for _, table := range []string{n.cfg.table(), n.cfg.services()} {
		conn := &nftables.Conn{}
		conn.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyIPv6})
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "restoring", func() bool { return fmt.Sprint(rulesOf(n)) == fmt.Sprint(before) })
}

// What is switched off is gone, but for the pods that have it; and it comes back as it was.
func TestIPv6OnAndOff(t *testing.T) {
	before := machineState(t)
	cfg := newConfig(t)
	n := mustOpen(t, cfg)
	off := machineState(t)
	a, addrA := pod(t, n, "pod-a")
	reopen := func(on bool) {
		t.Helper()
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.IPv6 = on
		n = mustOpen(t, cfg)
		if err := n.Reserve("pod-a", addrA); err != nil {
			t.Fatal(err)
		}
	}
	if n.Address6(addrA).IsValid() || n.PodCIDR6().IsValid() || n.ServiceCIDR6().IsValid() || n.Gateway6().IsValid() {
		t.Error("there is IPv6 that nobody has asked for")
	}
	reopen(true)
	b, addrB := pod(t, n, "pod-b")
	pods, services := n.PodCIDR6(), n.ServiceCIDR6()
	if got, err := ask(t, b, serve(t, a, addrA), patience); err != nil || got != addrB.String() {
		t.Errorf("to a pod from before: got %q, %v", got, err)
	}
	server := serve(t, b, n.Address6(addrB))
	if _, err := askHere(server, patience); err != nil {
		t.Error(err)
	}
	again, err := Open(t.Context(), Config{ID: cfg.ID, StateDir: cfg.StateDir, IPv6AsKept: true})
	if err != nil || again.PodCIDR6() != pods {
		t.Errorf("as kept: %v, %v", again.PodCIDR6(), err)
	}
	_ = again.Close()
	reopen(false)
	if got := slices.DeleteFunc(machineState(t), func(s string) bool { return strings.HasPrefix(s, "link "+cfg.prefix()) }); !slices.Equal(got, off) {
		t.Errorf("switched off:\ngot  %v\nwant %v", got, off)
	}
	if _, err := askHere(server, blocked); err == nil {
		t.Error("a pod is reached by what is switched off")
	}
	reopen(true)
	if err := n.Reserve("pod-b", addrB); err != nil {
		t.Fatal(err)
	}
	if n.PodCIDR6() != pods || n.ServiceCIDR6() != services {
		t.Errorf("the ranges are %s and %s, were %s and %s", n.PodCIDR6(), n.ServiceCIDR6(), pods, services)
	}
	if _, err := askHere(server, patience); err != nil {
		t.Errorf("switched on again: %v", err)
	}
	removeUnder(t, n)
	if after := machineState(t); !slices.Equal(before, after) {
		t.Errorf("something is left or missing:\nbefore %v\nafter  %v", before, after)
	}
}

// Who asks for what the machine has not is told so, and who only wants to take all down can.
func TestNoIPv6(t *testing.T) {
	in(t, newNetns(t), func() error {
		if err := checkIPv6(1280); err != nil {
			return err
		}
		if err := checkIPv6(1279); err == nil || !strings.Contains(err.Error(), "1280") {
			return fmt.Errorf("with a small MTU: %w", err)
		}
		if err := set(conf6+"all/disable_ipv6", "1"); err != nil {
			return err
		}
		if err := checkIPv6(1500); err == nil || !strings.Contains(err.Error(), "net.ipv6.conf.all.disable_ipv6") {
			return fmt.Errorf("switched off: %w", err)
		}
		return nil
	})
	next := outside(t)
	cfg := newConfig(t)
	cfg.IPv6 = true
	n := mustOpen(t, cfg)
	mtu := func(size int) {
		t.Helper()
		l, err := netlink.LinkByName("uplink")
		if err == nil {
			err = netlink.LinkSetMTU(l, size)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mtu(1000)
	_ = n.Close()
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "1280") {
		t.Errorf("opened again: %v", err)
	}
	cfg.IPv6, cfg.IPv6AsKept = false, true
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	mtu(1400)
	a, addrA := pod(t, n, "pod-a")
	if got, err := ask(t, a, serve(t, next, netip.MustParseAddr("198.51.100.2")), patience); err != nil || n.Address6(addrA).IsValid() {
		t.Errorf("got %q, %v, IPv6 %v", got, err, n.Address6(addrA))
	}
	removeUnder(t, n)
}

// advertise says next door, to all on the wire, that fe80::99 is a router for so many seconds.
func advertise(t *testing.T, next *os.File, lifetime uint16) {
	t.Helper()
	in(t, next, func() error {
		l, err := netlink.LinkByName("next")
		if err != nil {
			return err
		}
		from, to := netip.MustParseAddr("fe80::99"), netip.MustParseAddr("ff02::1")
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		frame := icmp6(l.Attrs().HardwareAddr, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, from, to, 134, 64, 0, byte(lifetime>>8), byte(lifetime), 0, 0, 0, 0, 0, 0, 0, 0)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index})
	})
}

// haveWay says whether an interface leads to fe80::99 by its own word.
func haveWay(l netlink.Link) bool {
	routes, err := netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_PROTOCOL)
	return err == nil && slices.ContainsFunc(routes, func(r netlink.Route) bool {
		return r.LinkIndex == l.Attrs().Index && r.Gw.Equal(net.ParseIP("fe80::99"))
	})
}

// A machine that learns its way out from its router keeps it: routers do not listen to each other, and forwarding makes a router of it.
func TestTheRouterIsStillBelieved(t *testing.T) {
	next := outside(t)
	uplink, err := netlink.LinkByName("uplink")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "learning the way out", func() bool { advertise(t, next, 1800); return haveWay(uplink) })
	before := machineState(t)
	cfg := newConfig(t)
	cfg.IPv6 = true
	n := mustOpen(t, cfg)
	if !haveWay(uplink) {
		t.Error("the way out is lost")
	}
	advertise(t, next, 0)
	eventually(t, "listening", func() bool { return !haveWay(uplink) })
	advertise(t, next, 1800)
	eventually(t, "listening", func() bool { return haveWay(uplink) })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = mustOpen(t, cfg)
	if !haveWay(uplink) || !is(conf6+"uplink/accept_ra", "2") {
		t.Error("a second run does not believe")
	}
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := machineState(t); !slices.Equal(before, after) {
		t.Errorf("something is left or missing:\nbefore %v\nafter  %v", before, after)
	}
}

// What a firewall drops of IPv6 alone is said, and opened where that is asked for.
func TestFirewallsByIPv6(t *testing.T) {
	for name, tt := range map[string]struct {
		rules []string
		want  string
	}{
		"Docker": {[]string{
			"ip6tables -N DOCKER-USER", "ip6tables -A DOCKER-USER -j RETURN", "ip6tables -A FORWARD -j DOCKER-USER", "ip6tables -P FORWARD DROP",
		}, "from pod to pod by IPv6 and from pods to the outside by IPv6: chain FORWARD of table ip6 filter by its policy; to open it: `ip6tables -I DOCKER-USER -i BRIDGE -j ACCEPT`"},
		"of one's own, for both": {[]string{
			"nft add table inet mine", "nft add chain inet mine guard '{ type filter hook forward priority 0 ; policy drop ; }'",
		}, "from pod to pod and from pods to the outside and from pod to pod by IPv6 and from pods to the outside by IPv6: chain guard of table inet mine"},
	} {
		t.Run(name, func(t *testing.T) {
			outside6(t)
			n := open6(t)
			if err := n.testPaths(t.Context()); err != nil || len(n.Warnings()) > 0 {
				t.Fatalf("without a firewall: %v, %v", err, n.Warnings())
			}
			t.Cleanup(func() { sh(t, "nft flush ruleset") })
			for _, r := range tt.rules {
				sh(t, r)
			}
			if err := n.testPaths(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(n.Warnings(), "\n"); !strings.Contains(got, strings.ReplaceAll(tt.want, "BRIDGE", n.Bridge())) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
			a, addrA := pod(t, n, "pod-a")
			b, _ := pod(t, n, "pod-b")
			server := serve(t, a, n.Address6(addrA))
			if _, err := ask(t, b, server, blocked); err == nil {
				t.Error("the firewall does not cut what is said to be cut")
			}
			n.cfg.AllowFirewall = true
			if err := n.testPaths(t.Context()); err != nil || len(n.Warnings()) > 0 {
				t.Fatalf("after opening: %v, %v", err, n.Warnings())
			}
			if _, err := ask(t, b, server, patience); err != nil {
				t.Errorf("pod to pod: %v", err)
			}
			t.Log(sh(t, "ip6tables -S")) // reads what was put in
			removeUnder(t, n)
			if got := sh(t, "nft list ruleset"); strings.Contains(got, n.Bridge()) {
				t.Errorf("something is left: %s", got)
			}
		})
	}
}
