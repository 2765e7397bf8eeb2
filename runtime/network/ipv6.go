package network

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime/network/ipam"
	"berth/runtime/network/link"
)

// Of IPv6 there is nothing to allocate or to remember: a pod's address is at the place in its range that the one of IPv4 has in the other.

const (
	// podBits is the length of the range of pods that berth chooses, fewestPodBits of the smallest one it takes: all that can be handed out is in it. Of the
	// errors that the kernel sends it lets the more pass the shorter the route to their receiver (icmpv6_xrlim_allow).
	podBits, fewestPodBits = 64, 128 - 12
	// serviceBits is that of the Services it chooses, fewestServiceBits of the smallest one it takes.
	serviceBits, fewestServiceBits = 112, 124
	// Which of the networks of a site are those of pods and of Services.
	podNetwork, serviceNetwork = 1, 2
	// sites is how many are tried until one is free. Already the first one is somebody else's once in a million millions of times.
	sites = 16
)

// haveIPv6 says whether interfaces of this size have IPv6 at all.
func haveIPv6(mtu int) bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil && mtu >= 1280
}

// checkIPv6 says why pods cannot have IPv6, if that is so.
func checkIPv6(mtu int) error {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return errors.New("cannot give pods IPv6: the kernel has none (or was started with ipv6.disable=1)")
	}
	off, err := isOn("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	if err == nil && off {
		return errors.New("cannot give pods IPv6: this machine has it switched off (net.ipv6.conf.all.disable_ipv6)")
	}
	if err == nil && mtu < 1280 {
		return fmt.Errorf("cannot give pods IPv6: it needs an MTU of 1280, and the way out of this machine has %d", mtu)
	}
	return err
}

// decideRanges6 completes what is to be kept, as decideRanges does for IPv4. When pods are to have no IPv6 the ranges stay for the time when they do.
func decideRanges6(cfg Config, kept, now state, f findings) (state, error) {
	now.PodCIDR6, now.ServiceCIDR6 = kept.PodCIDR6, kept.ServiceCIDR6
	if now.IPv6 = cfg.IPv6; !cfg.IPv6 {
		return now, nil
	}
	pods, err := decidePods6(cfg, kept, f)
	if err != nil {
		return kept, err
	}
	services, err := decideServices6(cfg, kept.ServiceCIDR6, append([]netip.Prefix{pods}, f.taken6...))
	if err != nil {
		return kept, err
	}
	now.PodCIDR6, now.ServiceCIDR6 = pods, services
	return now, nil
}

func decidePods6(cfg Config, kept state, f findings) (netip.Prefix, error) {
	if want := cfg.PodCIDR6; want.IsValid() {
		if f.ports && f.own6.IsValid() && f.own6 != want.Masked() {
			return want, fmt.Errorf("cannot use %s for pods: pods are running in %s; run berth down first", want, f.own6)
		}
		if want.Bits() > fewestPodBits || !ordinary(want) {
			return want, fmt.Errorf("cannot use %s for pods: it is not an IPv6 range of at least 4096 addresses", want)
		}
		if t, clash := ipam.Overlap(want, f.taken6); clash {
			return want, fmt.Errorf("cannot use %s for pods: this machine uses %s already", want, t)
		}
		return want.Masked(), nil
	}
	if f.own6.IsValid() && (f.ports || f.own6 == kept.PodCIDR6) {
		return f.own6, nil
	}
	return keepOrChoose(cfg.ID, kept.PodCIDR6, podNetwork, podBits, f.taken6)
}

func decideServices6(cfg Config, kept netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	want := cfg.ServiceCIDR6
	if !want.IsValid() {
		return keepOrChoose(cfg.ID, kept, serviceNetwork, serviceBits, taken)
	}
	if want.Bits() > fewestServiceBits || !ordinary(want) {
		return want, fmt.Errorf("cannot use %s for Services: it is not an IPv6 range of at least 16 addresses", want)
	}
	if t, clash := ipam.Overlap(want, taken); clash {
		return want, fmt.Errorf("cannot use %s for Services: this machine uses %s already", want, t)
	}
	return want.Masked(), nil
}

// ordinary says whether a range is one of IPv6 whose addresses can be those of pods.
func ordinary(p netip.Prefix) bool {
	a := p.Addr()
	return a.Is6() && !a.Is4In6() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsLoopback()
}

// keepOrChoose takes the kept range while it is free, or one of a site of our own (RFC 4193): the same one for the same instance.
func keepOrChoose(id string, kept netip.Prefix, network uint16, bits int, taken []netip.Prefix) (netip.Prefix, error) {
	if _, clash := ipam.Overlap(kept, taken); kept.IsValid() && !clash {
		return kept, nil
	}
	for site := range sites {
		sum := sha256.Sum256(fmt.Appendf(nil, "berth %s site %d", id, site))
		var a [16]byte
		a[0] = 0xfd
		copy(a[1:6], sum[:])
		binary.BigEndian.PutUint16(a[6:], network)
		p := netip.PrefixFrom(netip.AddrFrom16(a), bits)
		if _, clash := ipam.Overlap(p, taken); !clash {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("cannot find a free IPv6 range: this machine has routes to all private networks; name them, behind a comma, with --pod-cidr and --service-cidr")
}

// ensureIPv6 gives the bridge its address and routes, and makes the machine forward; or takes back what an earlier run did that was told to.
func (n *Network) ensureIPv6() error {
	l, err := netlink.LinkByIndex(int(n.bridge.Load()))
	if err != nil {
		return fmt.Errorf("cannot find bridge %s: %w", n.cfg.bridge(), err)
	}
	if !n.kept.IPv6 {
		return n.dropIPv6(l)
	}
	if err := n.kept.ensure(n.cfg.bridge()); err != nil {
		return err
	}
	want := mask(netip.PrefixFrom(n.Gateway6(), n.podCIDR6.Bits()))
	err = errors.Join(
		dropAddresses(l, unix.AF_INET6, want.String()),
		netlink.AddrReplace(l, &netlink.Addr{IPNet: want, Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}),
		routeRanges(l, n.Gateway6(), map[netip.Prefix]netlink.RouteProtocol{n.podCIDR6: unix.RTPROT_BOOT, n.serviceCIDR6: unix.RTPROT_BOOT}),
	)
	if err != nil {
		return fmt.Errorf("cannot set up bridge %s for IPv6: %w", n.cfg.bridge(), err)
	}
	return nil
}

// dropIPv6 leaves nothing of IPv6 on the bridge, nor of what it needed of the machine.
func (n *Network) dropIPv6(l netlink.Link) error {
	if !n.ipv6 {
		return nil
	}
	if err := errors.Join(dropAddresses(l, unix.AF_INET6, ""), routeRanges(l, netip.IPv6Unspecified(), nil)); err != nil {
		return fmt.Errorf("cannot take IPv6 from bridge %s: %w", n.cfg.bridge(), err)
	}
	if n.kept.settings6 == (settings6{}) {
		return nil
	}
	links, err := dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("cannot list interfaces: %w", err)
	}
	if err := n.kept.settings6.restore(links); err != nil {
		return err
	}
	n.kept.settings6 = settings6{}
	return writeState(n.cfg.StateDir, n.kept)
}

// PodCIDR6 is the range of the pods' IPv6 addresses; zero when they have none.
func (n *Network) PodCIDR6() netip.Prefix { return n.podCIDR6 }

// ServiceCIDR6 is the range that Services get IPv6 addresses from; zero when pods have none.
func (n *Network) ServiceCIDR6() netip.Prefix { return n.serviceCIDR6 }

// Gateway6 is the machine's IPv6 address on the bridge; zero when pods have none.
func (n *Network) Gateway6() netip.Addr { return at6(n.podCIDR6, 1) }

// Address6 is the IPv6 address of a pod with this one of IPv4; zero when pods have none.
func (n *Network) Address6(addr netip.Addr) netip.Addr {
	offset, ok := n.pool.Offset(addr)
	if !ok {
		return netip.Addr{}
	}
	return at6(n.podCIDR6, offset)
}

// four is a pod's address of IPv4 by either of its addresses; false when no pod can have it.
func (n *Network) four(a netip.Addr) (netip.Addr, bool) {
	if a.Is4() || !n.podCIDR6.Contains(a) {
		_, ok := n.pool.Offset(a)
		return a, ok
	}
	b := a.As16()
	offset := binary.BigEndian.Uint32(b[12:]) & (1<<(128-fewestPodBits) - 1)
	four := n.pool.At(offset)
	_, ok := n.pool.Offset(four)
	return four, ok && at6(n.podCIDR6, offset) == a
}

// at6 is the address at a place of a range of pods, zero of none.
func at6(p netip.Prefix, place uint32) netip.Addr {
	if !p.IsValid() {
		return netip.Addr{}
	}
	b := p.Addr().As16()
	binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+place) // no range is so small that it would carry
	return netip.AddrFrom16(b)
}

// neighbour is who has a pod's IPv6 address. The machine does not ask, and believes nobody who tells.
func (n *Network) neighbour(addr netip.Addr) link.Neighbour {
	return link.Neighbour{Link: int(n.bridge.Load()), Address: n.Address6(addr), MAC: macOf(addr)}
}
