package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"

	"berth/runtime/network/link"
)

// ensureLinks makes the bridge, and what of the machine's settings pods need, as they must be.
func (n *Network) ensureLinks() error {
	index, err := ensureBridge(n.cfg, n.pool, n.kept, n.mtu, n.ipv6)
	if err != nil {
		return err
	}
	n.bridge.Store(int32(index))
	return errors.Join(ensureSettings(n.cfg.bridge()), n.ensureIPv6())
}

// keepLinks puts back what others change of the bridge, of the pods' interfaces on it and of the settings, until ctx ends.
func (n *Network) keepLinks(ctx context.Context, report func(error)) {
	damage := make(chan struct{}, 1)
	var group sync.WaitGroup
	group.Go(func() {
		err := n.watch.Run(ctx, func(e link.Event) {
			switch {
			case e.New:
				if err := n.welcome(e.Name); err != nil {
					report(err)
				}
			case n.concerns(e):
				wake(damage)
			}
		})
		if err != nil {
			report(err)
		}
	})
	mender{every: n.mendEvery, mend: func() ([]string, error) { return n.mendLinks(ctx) }, tell: report, quarrelling: n.setQuarrel}.run(ctx, damage)
	group.Wait()
}

// concerns says whether a loss may be one of the network's. Interfaces of pods that have ended are not.
func (n *Network) concerns(e link.Event) bool {
	if e.Link == 0 || e.Link == int(n.bridge.Load()) || e.Name == n.cfg.bridge() {
		return true
	}
	return n.pool.Holder(n.addressOf(e.Name)) != ""
}

// addressOf is the address that the name of a pod's interface was made of; zero for other interfaces.
func (n *Network) addressOf(name string) netip.Addr {
	number, own := strings.CutPrefix(name, n.cfg.prefix())
	offset, err := strconv.ParseUint(number, 16, 32)
	if !own || err != nil {
		return netip.Addr{}
	}
	return n.pool.At(uint32(offset))
}

// mendLinks puts everything back as it must be, when somebody has changed something, and says what.
func (n *Network) mendLinks(ctx context.Context) ([]string, error) {
	n.attaching.Lock() // else an interface may be there and not on the bridge yet
	defer n.attaching.Unlock()
	changed, err := n.changedLinks()
	if err != nil || len(changed) == 0 {
		return nil, err
	}
	if n.kept.IPv6 && is(forwarding6Path, "0") {
		if err := n.keepListeners(); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(n.ensureLinks(), n.rejoin(ctx)); err != nil {
		return nil, fmt.Errorf("cannot put back what somebody has changed (%s): %w", strings.Join(changed, ", "), err)
	}
	wake(n.rerouted) // a test of the paths may have failed in between
	return changed, nil
}

// changedLinks says what is not as it must be.
func (n *Network) changedLinks() ([]string, error) {
	name := n.cfg.bridge()
	l, err := linkByName(name)
	if err != nil {
		return nil, err
	}
	if l == nil || l.Attrs().Index != int(n.bridge.Load()) {
		return []string{"bridge " + name + " was removed"}, nil
	}
	var changed []string
	up := l.Attrs().Flags&net.FlagUp != 0
	if !up {
		changed = append(changed, "bridge "+name+" was set down") // which takes its routes, and addresses of IPv6
	}
	addresses, err := n.lostAddresses(l, up)
	if err != nil {
		return nil, err
	}
	ports, err := n.lostPorts()
	if err != nil {
		return nil, err
	}
	changed = slices.Concat(changed, addresses, ports, n.changedSettings())
	return changed, nil
}

// lostAddresses are the addresses and routes of the bridge that are not there.
func (n *Network) lostAddresses(bridge netlink.Link, up bool) ([]string, error) {
	type side struct {
		address netip.Prefix
		ranges  []netip.Prefix
	}
	sides := []side{{netip.PrefixFrom(n.Gateway(), n.PodCIDR().Bits()), []netip.Prefix{n.PodCIDR(), n.serviceCIDR}}}
	if n.kept.IPv6 && up {
		sides = append(sides, side{netip.PrefixFrom(n.Gateway6(), n.podCIDR6.Bits()), []netip.Prefix{n.podCIDR6, n.serviceCIDR6}})
	}
	var lost []string
	for _, s := range sides {
		family := familyOf(s.address.Addr())
		addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, family) })
		if err != nil {
			return nil, fmt.Errorf("cannot list addresses of %s: %w", bridge.Attrs().Name, err)
		}
		if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IPNet.String() == s.address.String() }) {
			lost = append(lost, s.address.String()+" was taken from bridge "+bridge.Attrs().Name)
			continue // its routes with it
		}
		if !up {
			continue
		}
		routes, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(bridge, family) })
		if err != nil {
			return nil, fmt.Errorf("cannot list routes of %s: %w", bridge.Attrs().Name, err)
		}
		for _, p := range s.ranges {
			if !slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Dst != nil && r.Dst.String() == p.String() }) {
				lost = append(lost, "the route to "+p.String()+" was removed")
			}
		}
	}
	return lost, nil
}

// lostPorts are the interfaces of pods that are not on the bridge, or not up.
func (n *Network) lostPorts() ([]string, error) {
	own, err := ownLinks(n.cfg)
	if err != nil {
		return nil, err
	}
	var lost []string
	for _, name := range n.strayed(own) {
		how := "set down"
		if own[name].MasterIndex != int(n.bridge.Load()) {
			how = "taken off bridge " + n.cfg.bridge()
		}
		lost = append(lost, "interface "+name+" of pod "+n.pool.Holder(n.addressOf(name))+" was "+how)
	}
	if more := len(lost) - named; more > 0 {
		lost = append(lost[:named], fmt.Sprintf("and %d more", more))
	}
	return lost, nil
}

// named is how many interfaces are named when all of them were changed.
const named = 3

// strayed are the interfaces of the pods that hold addresses, of these, that are not on the bridge, or not up.
func (n *Network) strayed(own map[string]*netlink.LinkAttrs) []string {
	var names []string
	for name, l := range own {
		if n.pool.Holder(n.addressOf(name)) != "" && (l.MasterIndex != int(n.bridge.Load()) || l.Flags&net.FlagUp == 0) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// rejoin puts them on the bridge. Who is told, and not asked, who has an address (see ipv6.go) is told again, as that went with the bridge.
func (n *Network) rejoin(ctx context.Context) error {
	own, err := ownLinks(n.cfg)
	if err != nil {
		return err
	}
	for _, name := range n.strayed(own) {
		addr := n.addressOf(name)
		err := n.socket.Join(link.Veth{Name: name, Bridge: int(n.bridge.Load()), MAC: macOf(addr), Address6: n.Address6(addr)})
		if err := errors.Join(ctx.Err(), err); err != nil {
			return err
		}
	}
	if !n.podCIDR6.IsValid() {
		return nil
	}
	for name := range own {
		if addr := n.addressOf(name); n.pool.Holder(addr) != "" {
			if err := n.socket.AddNeighbour(n.neighbour(addr)); err != nil {
				return err
			}
		}
	}
	return nil
}
