package network

import (
	"errors"
	"maps"
	"net/netip"

	"golang.org/x/sys/unix"

	"berth/runtime/network/conntrack"
	"berth/runtime/network/nft"
)

// forgetStale makes the kernel forget where it sent what would go elsewhere now. By UDP that is all: a flow lives as long as its client goes on
// sending. By TCP it is who waits for the first answer: the packet that asked for it may be lost, and when it is sent again, seconds later, nobody
// may be there any more. Who was answered stays.
func forgetStale(all []nft.Stale) error {
	var errs []error
	for _, stale := range all {
		errs = append(errs, forgetStaleOf(stale))
	}
	return errors.Join(errs...)
}

func forgetStaleOf(stale nft.Stale) error {
	for _, protocol := range stale.Protocols {
		unanswered := protocol == unix.IPPROTO_TCP
		err := conntrack.Forget(conntrack.Among{IPv6: stale.IPv6, Protocol: protocol, Unanswered: unanswered}, func(f conntrack.Flow) bool {
			if f.Protocol != protocol || unanswered && f.Answered {
				return false
			}
			return stale.Is(protocol, f.To, f.Answers)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forgetStrangers makes the kernel forget, once in a process, all connections from or to addresses that no pod has: what an earlier process
// has not come to.
func (n *Network) forgetStrangers() error {
	n.forgetting.Lock()
	defer n.forgetting.Unlock()
	if n.strangersForgotten {
		return nil
	}
	strange := func(a netip.Addr) bool {
		four, ok := n.four(a)
		return ok && n.pool.Holder(four) == ""
	}
	err := forgetUnused(conntrack.Among{}, strange)
	if n.podCIDR6.IsValid() {
		err = errors.Join(err, forgetUnused(conntrack.Among{IPv6: true}, strange))
	}
	n.strangersForgotten = err == nil
	return err
}

// forgetReleased makes the kernel forget all connections from or to addresses that pods have given back, if addr is among them or zero: a new
// pod with it must not get what was meant for the old one.
func (n *Network) forgetReleased(addr netip.Addr) error {
	n.forgetting.Lock()
	defer n.forgetting.Unlock()
	dirty := n.takeReleased(addr)
	if len(dirty) == 0 {
		return nil
	}
	err := n.forgetAddresses(dirty)
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

// fewAddresses are so many that it is cheaper to have the kernel look for each than to be shown all it remembers: with 200,000 connections that takes
// 0.8 s, each look 0.08 s.
const fewAddresses = 4

// forgetAddresses makes the kernel forget the connections from or to pods with these addresses.
func (n *Network) forgetAddresses(gone map[netip.Addr]bool) error {
	among := []conntrack.Among{{}}
	if len(gone) <= fewAddresses {
		among = nil
		for addr := range gone {
			among = append(among, conntrack.Among{From: addr}, conntrack.Among{Answers: addr})
		}
	}
	if n.podCIDR6.IsValid() {
		among = append(among, conntrack.Among{IPv6: true})
	}
	for _, among := range among {
		err := forgetUnused(among, func(a netip.Addr) bool {
			four, _ := n.four(a)
			return gone[four]
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func forgetUnused(among conntrack.Among, unused func(netip.Addr) bool) error {
	return conntrack.Forget(among, func(f conntrack.Flow) bool {
		return unused(f.From.Addr()) || unused(f.To.Addr()) || unused(f.Answers.Addr())
	})
}
