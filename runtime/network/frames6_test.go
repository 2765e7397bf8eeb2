package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

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
	tests := map[string]sent{
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
	judge(t, n, a, ip, tests, judged, udp6(macA, gateway, sixA, router, markerPort))
	if got := neighbours(t, n); len(got) != 2 {
		t.Errorf("the machine knows %v", got)
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
