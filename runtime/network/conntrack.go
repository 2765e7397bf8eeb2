package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetDatagrams makes the kernel forget the flows by UDP to backends that left: a flow lives as long as its client goes on sending, and
// would never be sent to another one.
func forgetDatagrams(backends []netip.AddrPort) error {
	left := map[netip.AddrPort]bool{}
	for _, b := range backends {
		left[b] = true
	}
	return forget(func(f *netlink.ConntrackFlow) bool {
		// The answers come from the backend, whatever address the client has sent to.
		from, _ := netip.AddrFromSlice(f.Reverse.SrcIP.To4())
		return f.Forward.Protocol == unix.IPPROTO_UDP && left[netip.AddrPortFrom(from, f.Reverse.SrcPort)]
	})
}

// forgetAddresses makes the kernel forget all connections from or to addresses that a new pod may get.
func forgetAddresses(unused func(netip.Addr) bool) error {
	return forget(func(f *netlink.ConntrackFlow) bool {
		for _, ip := range [][]byte{f.Forward.SrcIP, f.Forward.DstIP, f.Reverse.SrcIP} {
			if addr, ok := netip.AddrFromSlice(ip); ok && unused(addr.Unmap()) {
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
