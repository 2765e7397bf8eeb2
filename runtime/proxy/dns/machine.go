package dns

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// machine knows the machine's own addresses: pods on its network ask from them. The kernel drops packets from elsewhere that claim to be
// from one. They are looked at when somebody who is no pod asks, once a second at most.
type machine struct {
	mu     sync.Mutex
	looked time.Time
	addrs  map[netip.Addr]bool
}

func (m *machine) has(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.looked) >= time.Second {
		m.looked, m.addrs = now, map[netip.Addr]bool{}
		list, _ := net.InterfaceAddrs() // none: nobody is answered who is no pod
		for _, l := range list {
			if n, ok := l.(*net.IPNet); ok {
				if own, ok := netip.AddrFromSlice(n.IP); ok {
					m.addrs[own.Unmap()] = true
				}
			}
		}
	}
	return m.addrs[a]
}
