package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/network/ipam"
	"berth/runtime/network/nft"
)

const (
	// vanish is how long Remove waits for interfaces to end with their namespaces, which the kernel clears in its own time (0.7 ms each,
	// in batches), before it removes them one by one (16 ms each).
	vanish = 3 * time.Second
	// firstLook and lastLook are the waits between looking.
	firstLook, lastLook = 5 * time.Millisecond, 100 * time.Millisecond
)

// ensureBridge makes the bridge what it must be and returns its index.
func ensureBridge(cfg Config, pool *ipam.Pool, kept state, mtu int, ipv6 bool) (int, error) {
	l, err := linkByName(cfg.bridge())
	if err != nil {
		return 0, err
	}
	if l == nil {
		snooping := false
		attrs := netlink.NewLinkAttrs()
		// An own MAC: a bridge without one takes the lowest of its ports', and changes it with them.
		attrs.Name, attrs.MTU, attrs.HardwareAddr = cfg.bridge(), mtu, macOf(pool.Gateway())
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
			return 0, fmt.Errorf("cannot make bridge %s: %w", cfg.bridge(), err)
		}
		if l, err = netlink.LinkByName(cfg.bridge()); err != nil {
			return 0, fmt.Errorf("cannot find bridge %s: %w", cfg.bridge(), err)
		}
	}
	if l.Type() != "bridge" {
		return 0, fmt.Errorf("cannot use interface %s: it is a %s, not a bridge", cfg.bridge(), l.Type())
	}
	ranges := map[netip.Prefix]netlink.RouteProtocol{pool.Prefix(): unix.RTPROT_KERNEL, kept.ServiceCIDR: unix.RTPROT_BOOT}
	if err := errors.Join(setUpBridge(l, pool, mtu, ipv6, kept.alias()), routeRanges(l, pool.Gateway(), ranges)); err != nil {
		return 0, fmt.Errorf("cannot set up bridge %s: %w", cfg.bridge(), err)
	}
	return l.Attrs().Index, nil
}

func setUpBridge(l netlink.Link, pool *ipam.Pool, mtu int, ipv6 bool, alias string) error {
	if alias != "" && alias != l.Attrs().Alias {
		if err := netlink.LinkSetAlias(l, alias); err != nil {
			return err
		}
	}
	if ipv6 {
		if err := netlink.LinkSetIP6AddrGenMode(l, addrGenNone); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetMTU(l, mtu); err != nil {
		return err
	}
	want := mask(netip.PrefixFrom(pool.Gateway(), pool.Prefix().Bits()))
	if err := dropAddresses(l, unix.AF_INET, want.String()); err != nil {
		return err
	}
	if err := netlink.AddrReplace(l, &netlink.Addr{IPNet: want}); err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetHardwareAddr(l, macOf(pool.Gateway())), netlink.LinkSetUp(l))
}

// dropAddresses takes all addresses of a family from an interface but one.
func dropAddresses(l netlink.Link, family int, but string) error {
	addrs, err := netlink.AddrList(l, family)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.IPNet.String() != but {
			if err := netlink.AddrDel(l, &a); err != nil {
				return err
			}
		}
	}
	return nil
}

// routeRanges makes the ranges of the pods and of the Services lead to the bridge, under runtime.NearCongestion. Nobody has the addresses of Services there:
// they are translated before a packet leaves. But the machine itself reaches them also without a default route, from its address on the bridge, and others see
// the range taken. source is that address, of the same family as the ranges.
func routeRanges(l netlink.Link, source netip.Addr, ranges map[netip.Prefix]netlink.RouteProtocol) error {
	wanted := map[string]*netlink.Route{}
	for p, protocol := range ranges {
		route := &netlink.Route{LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, Congctl: runtime.NearCongestion, Dst: mask(p), Protocol: protocol}
		if source.Is4() { // one of IPv6 may not be usable yet; the kernel chooses it as the only one there is
			route.Src = source.AsSlice()
		}
		wanted[p.String()] = route
	}
	routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(l, familyOf(source)) })
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_KERNEL && r.Dst != nil && wanted[r.Dst.String()] == nil {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	var errs []error
	for _, route := range wanted {
		errs = append(errs, netlink.RouteReplace(route)) // that of the pods takes the place of the kernel's own, which came with the address
	}
	return errors.Join(errs...)
}

// addrGenNone: no IPv6 address of the kernel's making (IN6_ADDR_GEN_MODE_NONE).
const addrGenNone = 1

// Remove takes an instance's bridge, interfaces and packet filter away, whether or not it is open here. What is not there is not an error.
//
// Settings of the machine go back to what they were before the first berth came, where nobody else seems to need them. The ranges stay kept, for the next time.
func Remove(ctx context.Context, cfg Config) error {
	unlock, err := lockMachine(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	kept, err := readState(cfg.StateDir)
	if err != nil {
		return err
	}
	l, err := linkByName(cfg.bridge())
	if err != nil {
		return err
	}
	before := kept.settings
	if l != nil {
		before = before.or(settingsOf(l.Attrs().Alias))
		if err := netlink.LinkDel(l); err != nil {
			return fmt.Errorf("cannot remove bridge %s: %w", cfg.bridge(), err)
		}
	}
	if err := errors.Join(removeLinks(ctx, cfg), nft.Remove(cfg.table(), cfg.services(), cfg.policies(), cfg.table()+"-probe"), nft.Disallow(cfg.table()), before.restore()); err != nil {
		return err
	}
	if kept.settings != (settings{}) {
		kept.IPv6, kept.settings = false, settings{}
		return writeState(cfg.StateDir, kept)
	}
	return nil
}

// Remove does what the function Remove does, and closes n.
func (n *Network) Remove(ctx context.Context) error {
	return errors.Join(Remove(ctx, n.cfg), n.Close())
}

// removeLinks waits for the interfaces of the instance to go with their namespaces, and removes those that do not.
func removeLinks(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, vanish)
	defer cancel()
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		own, err := ownLinks(cfg)
		if err != nil || len(own) == 0 {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return deleteLinks(own)
		}
	}
}

func deleteLinks(own map[string]*netlink.LinkAttrs) error {
	for name := range own {
		l, err := linkByName(name)
		if err != nil {
			return err
		}
		if l == nil {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("cannot remove interface %s: %w", name, err)
		}
	}
	return nil
}

// ownLinks are the machine's ends of the pod interfaces of an instance, by name.
func ownLinks(cfg Config) (map[string]*netlink.LinkAttrs, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("cannot list interfaces: %w", err)
	}
	own := map[string]*netlink.LinkAttrs{}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, cfg.prefix()) {
			own[l.Attrs().Name] = l.Attrs()
		}
	}
	return own, nil
}
