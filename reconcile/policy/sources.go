package policy

import (
	"net/netip"
	"slices"

	"berth/runtime"
)

// Sources are the addresses that may connect to a port of a pod; restricted is false when everybody may.
func (t *Table) Sources(to netip.AddrPort, protocol runtime.Protocol) (from []runtime.AddrRange, restricted bool) {
	for i := range t.Groups {
		g := &t.Groups[i]
		if _, in := slices.BinarySearchFunc(g.Pods, to.Addr(), netip.Addr.Compare); !in || g.Direction != runtime.Incoming {
			continue
		}
		for _, r := range g.Rules {
			if !opens(r.Ports, to.Port(), protocol) {
				continue
			}
			if r.Everybody {
				return nil, false
			}
			from = append(from, r.Blocks...)
			for _, a := range t.peers(r.Peers) {
				from = append(from, runtime.AddrRange{First: a, Last: a})
			}
		}
		return merge(append(from, runtime.AddrRange{First: to.Addr(), Last: to.Addr()})), true
	}
	return nil, false
}

func (t *Table) peers(name string) []netip.Addr {
	for i := range t.Peers {
		if t.Peers[i].Name == name {
			return t.Peers[i].Pods
		}
	}
	return nil
}

func opens(ports []runtime.PortRange, port uint16, protocol runtime.Protocol) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(r runtime.PortRange) bool {
		return r.Protocol == protocol && r.First <= port && port <= r.Last
	})
}
