package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime/network/nft"
)

// forgetDatagrams makes the kernel forget flows by UDP to backends that left: a flow lives as long as its client goes on sending, and would
// never be sent to another one.
func forgetDatagrams(stale nft.Stale) error {
	return forget(func(f *netlink.ConntrackFlow) bool {
		// The answers come from the backend, whatever address the client has sent to.
		to, _ := netip.AddrFromSlice(f.Forward.DstIP.To4())
		from, _ := netip.AddrFromSlice(f.Reverse.SrcIP.To4())
		return f.Forward.Protocol == unix.IPPROTO_UDP &&
			stale(netip.AddrPortFrom(to, f.Forward.DstPort), netip.AddrPortFrom(from, f.Reverse.SrcPort))
	})
}

// forgetStrangers makes the kernel forget, once in a process, all connections from or to addresses that no pod has: what an earlier process
// has not come to.
func (n *Network) forgetStrangers() error {
	n.forgetting.Lock()
	defer n.forgetting.Unlock()
	if n.strangersForgotten {
		return nil
	}
	err := forgetAddresses(func(a netip.Addr) bool {
		_, ok := n.pool.Offset(a)
		return ok && n.pool.Holder(a) == ""
	})
	n.strangersForgotten = err == nil
	return err
}

// forgetReleased makes the kernel forget all connections from or to addresses that pods have given back, if addr is among them or zero: a new
// pod with it must not get what was meant for the old one. All of them together, as the kernel has to show its whole table for it.
func (n *Network) forgetReleased(addr netip.Addr) error {
	n.forgetting.Lock()
	defer n.forgetting.Unlock()
	dirty := n.takeReleased(addr)
	if len(dirty) == 0 {
		return nil
	}
	err := forgetAddresses(func(a netip.Addr) bool { return dirty[a] })
	if err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		maps.Copy(n.dirty, dirty) // for the next time
	}
	return err
}

func (n *Network) takeReleased(addr netip.Addr) map[netip.Addr]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if addr.IsValid() && !n.dirty[addr] {
		return nil
	}
	dirty := n.dirty
	n.dirty = map[netip.Addr]bool{}
	return dirty
}

func forgetAddresses(unused func(netip.Addr) bool) error {
	return forget(func(f *netlink.ConntrackFlow) bool {
		for _, ip := range [][]byte{f.Forward.SrcIP, f.Forward.DstIP, f.Reverse.SrcIP} {
			if a, ok := netip.AddrFromSlice(ip); ok && unused(a.Unmap()) {
				return true
			}
		}
		return false
	})
}

type match func(*netlink.ConntrackFlow) bool

// MatchConntrackFlow says whether the flow is one of those.
func (m match) MatchConntrackFlow(f *netlink.ConntrackFlow) bool { return m(f) }

// forget lets the kernel forget flows. One that has ended in the meantime is not an error.
func forget(which match) error {
	var err error
	for range dumpTries {
		_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, which)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("cannot forget connections: %w", err)
	}
	return nil
}
