package proxy

import (
	"net"
	"net/netip"
	"reflect"
	"slices"

	"berth/runtime"
)

// restrict changes who may be led to which backend, and returns when nobody is being connected by the old rules.
func (c *chooser) restrict(only []runtime.BackendSources) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reflect.DeepEqual(c.only, only) {
		return
	}
	c.only = only
	c.renew()
}

// admitting are those of the backends that a client may be led to. The machine itself may reach every one. The lock is held.
func (c *chooser) admitting(client netip.Addr, backends []netip.AddrPort) []netip.AddrPort {
	closed := func(b netip.AddrPort) bool {
		i := slices.IndexFunc(c.only, func(s runtime.BackendSources) bool { return s.Backend == b })
		return i >= 0 && !contains(c.only[i].Sources, client)
	}
	if !slices.ContainsFunc(backends, closed) || ofThisMachine(client) {
		return backends
	}
	return slices.DeleteFunc(backends, closed)
}

func contains(list []runtime.AddrRange, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(r runtime.AddrRange) bool { return r.Contains(a) })
}

// ofThisMachine tells of an address that this machine has now.
func ofThisMachine(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(own net.Addr) bool {
		p, err := netip.ParsePrefix(own.String())
		return err == nil && p.Addr().Unmap() == a
	})
}
