package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// survey6 adds what there is of IPv6. own is the index of our bridge.
func (f *findings) survey6(links []netlink.Link, own int) error {
	if err := checkIPv6(f.mtu); err != nil {
		return err
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, unix.AF_INET6) })
	if err != nil {
		return fmt.Errorf("cannot list addresses: %w", err)
	}
	for _, a := range addrs {
		p := prefixOf(a.IP, a.Mask)
		switch {
		case a.LinkIndex != own:
			f.taken6 = append(f.taken6, p)
		case !p.Addr().IsLinkLocalUnicast():
			f.own6 = p
		}
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("cannot list routes: %w", err)
	}
	advertised := map[int]bool{} // interfaces with a way out that a router has told of
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST { // what is unreachable hides nothing, and our own addresses have been listed
			continue
		}
		bits := 0
		if r.Dst != nil {
			bits, _ = r.Dst.Mask.Size()
		}
		if bits == 0 {
			advertised[r.LinkIndex] = advertised[r.LinkIndex] || r.Protocol == unix.RTPROT_RA
			continue
		}
		if r.LinkIndex != own {
			f.taken6 = append(f.taken6, prefixOf(r.Dst.IP, r.Dst.Mask))
		}
	}
	now, err := readSettings6(links, own, advertised)
	f.before.settings6 = f.before.settings6.or(now)
	return err
}

func prefixOf(ip []byte, mask []byte) netip.Prefix {
	a, _ := netip.AddrFromSlice(ip)
	bits := 0
	for _, b := range mask {
		for ; b != 0; b <<= 1 {
			bits++
		}
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// listeners are the interfaces, by name, that believe what routers advertise. A port of a bridge has nothing to believe, and a bridge is most often one of
// containers: it counts when it has its way out from there.
func listeners(links []netlink.Link, own int, advertised map[int]bool, believes func(name string) bool) []string {
	var names []string
	for _, l := range links {
		a := l.Attrs()
		if a.Index == own || a.MasterIndex != 0 || l.Type() == "bridge" && !advertised[a.Index] || !believes(a.Name) {
			continue
		}
		names = append(names, a.Name)
	}
	slices.Sort(names)
	return names
}
