package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"berth/runtime"
)

// address is one of either family, from its first byte on: of IPv4 the rest is zero. There may be ten thousand, and these are compared and hashed as they lie
// in memory.
type address [16]byte

func addressOf(a netip.Addr) (b address) {
	copy(b[:], a.AsSlice())
	return b
}

// portKey is what a packet is sent to.
type portKey struct {
	address        address
	port, protocol uint16
}

// placeKey is a portKey and the number of one of its backends.
type placeKey struct {
	portKey
	number uint32
}

// backend is what a packet is sent to instead.
type backend struct {
	address address
	port    uint16
}

// bytes is how the kernel compares it: each part fills whole 32-bit registers, of which an address of the family has so many bytes.
func (k portKey) bytes(size uint32) []byte {
	b := append(make([]byte, 0, 28), k.address[:size]...)
	return append(binary.BigEndian.AppendUint16(append(b, byte(k.protocol), 0, 0, 0), k.port), 0, 0)
}

func (k placeKey) bytes(size uint32) []byte {
	return binary.NativeEndian.AppendUint32(k.portKey.bytes(size), k.number)
}

func (b backend) bytes(size uint32) []byte {
	return append(binary.BigEndian.AppendUint16(append(make([]byte, 0, 20), b.address[:size]...), b.port), 0, 0)
}

// way is how connections to a port are spread.
type way struct {
	// backends is how many numbers they have; with affinity some may have several.
	backends uint32
	// affinity keeps a client with its backend for so many seconds; 0 for not.
	affinity int32
}

// table is what the table of the Services has in it.
type table struct {
	ports    map[portKey]way
	backends map[placeKey]backend
	// seats say of the ports with affinity which of the backends' numbers are lent; the kernel has no need of that.
	seats map[portKey][]seat
	// refused are ports without backends at addresses that are not in the range of the Services.
	refused map[portKey]struct{}
}

func newTable() *table {
	return &table{ports: map[portKey]way{}, backends: map[placeKey]backend{}, seats: map[portKey][]seat{}, refused: map[portKey]struct{}{}}
}

// compute says what the table of the family of inRange has to have after it had what is in old, which may be nil. The DNS, when there is one, has its
// address whatever a Service says; of two Services with the same address and port the first one has it.
func compute(old *table, services []runtime.Service, clusterDNS netip.Addr, dns netip.AddrPort, inRange netip.Prefix) *table {
	t := newTable()
	if old == nil {
		old = newTable()
	}
	if dns.IsValid() {
		for _, protocol := range []runtime.Protocol{runtime.UDP, runtime.TCP} {
			t.add(old, clusterDNS, runtime.ServicePort{Protocol: protocol, Port: 53, Backends: []netip.AddrPort{dns}}, 0, inRange)
		}
	}
	for _, s := range services {
		for _, addresses := range [][]netip.Addr{s.ClusterIPs, s.ExternalIPs} {
			for _, addr := range addresses {
				for _, p := range s.Ports {
					t.add(old, addr, p, s.AffinitySeconds, inRange)
				}
			}
		}
	}
	return t
}

func (t *table) add(old *table, addr netip.Addr, p runtime.ServicePort, affinity int32, inRange netip.Prefix) {
	sameFamily := func(a netip.Addr) bool { return a.BitLen() == inRange.Addr().BitLen() && !a.Is4In6() }
	if !sameFamily(addr) || !mayBeReached(addr) {
		return
	}
	key, ok := keyOf(addr, p)
	if _, taken := t.ports[key]; !ok || taken {
		return
	}
	var to []backend
	for _, p := range p.Backends {
		if sameFamily(p.Addr()) && mayBeReached(p.Addr()) {
			to = append(to, backendOf(p))
		}
	}
	if affinity > 0 {
		t.seats[key] = place(old.seated(key), to)
		to = to[:0]
		for _, s := range t.seats[key] {
			to = append(to, s.backend)
		}
	}
	for n, b := range to {
		t.backends[placeKey{key, uint32(n)}] = b
	}
	switch {
	case len(to) > 0:
		t.ports[key] = way{uint32(len(to)), affinity}
		delete(t.refused, key)
	case !inRange.Contains(addr):
		t.refused[key] = struct{}{}
	}
}

// seat is who has a number of a port with affinity. It is lent when whose it was has left.
type seat struct {
	backend
	lent bool
}

// place gives the backends their numbers such that those of clients who are remembered change as little as can be: who is still there keeps
// its own, who is new takes what somebody leaves or a new number, and what is left over is lent to the one with the fewest. There are at most twice
// as many numbers as backends: then who is new takes what was lent.
func place(had []seat, backends []backend) []seat {
	if len(backends) == 0 {
		return nil
	}
	load := map[backend]int{}
	for _, b := range backends {
		load[b] = 0
	}
	var free []int
	for n, s := range had {
		if _, ok := load[s.backend]; ok {
			load[s.backend]++
		} else {
			free = append(free, n)
		}
	}
	seats := slices.Clone(had)
	for _, b := range backends {
		lent := slices.IndexFunc(seats, func(s seat) bool { return s.lent })
		switch {
		case load[b] > 0:
			continue
		case len(free) > 0:
			seats[free[0]], free = seat{backend: b}, free[1:]
		case lent >= 0 && len(seats) >= 2*len(backends):
			load[seats[lent].backend]--
			seats[lent] = seat{backend: b}
		default:
			seats = append(seats, seat{backend: b})
		}
		load[b]++
	}
	for _, n := range free {
		least := slices.MinFunc(backends, func(a, b backend) int { return load[a] - load[b] })
		seats[n] = seat{least, true}
		load[least]++
	}
	return seats
}

// numbered are the backends of a port in the order of their numbers.
func (t *table) numbered(key portKey) []backend {
	var all []backend
	for n := range t.ports[key].backends {
		all = append(all, t.backends[placeKey{key, n}])
	}
	return all
}

// seated are those who have the numbers of a port. Without affinity so far all are at home.
func (t *table) seated(key portKey) []seat {
	if seats, ok := t.seats[key]; ok {
		return seats
	}
	var seats []seat
	for _, b := range t.numbered(key) {
		seats = append(seats, seat{backend: b})
	}
	return seats
}

// mayBeReached keeps the machine's loopback and link-local addresses (a cloud's metadata) from being reached by way of a Service, and nobody
// else's from being taken over.
func mayBeReached(addr netip.Addr) bool {
	return !addr.IsLoopback() && !addr.IsLinkLocalUnicast() && !addr.IsMulticast() && !addr.IsUnspecified()
}

func keyOf(addr netip.Addr, p runtime.ServicePort) (key portKey, ok bool) {
	switch p.Protocol {
	case runtime.TCP:
		return portKey{addressOf(addr), p.Port, unix.IPPROTO_TCP}, true
	case runtime.UDP:
		return portKey{addressOf(addr), p.Port, unix.IPPROTO_UDP}, true
	default:
		return key, false
	}
}

// Stale says of which connections of one family the kernel's memory is wrong: those by one of the protocols that were sent to an address, and on to a
// backend, and would go elsewhere now. The zero value says of none.
type Stale struct {
	IPv6      bool
	Protocols []uint8
	Is        func(protocol uint8, sentTo, backend netip.AddrPort) bool
}

// stale compares with the old table, of which nil says that nothing is known.
func (t *table) stale(old *table, inRange netip.Prefix) Stale {
	s := Stale{IPv6: inRange.Addr().Is6()}
	for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		if old == nil || t.redirects(old, uint16(protocol)) {
			s.Protocols = append(s.Protocols, protocol)
		}
	}
	s.Is = func(protocol uint8, sentTo, to netip.AddrPort) bool {
		key := portKey{addressOf(sentTo.Addr()), sentTo.Port(), uint16(protocol)}
		if _, ok := t.ports[key]; ok {
			return !slices.Contains(t.numbered(key), backendOf(to))
		}
		if old == nil {
			return inRange.Contains(sentTo.Addr())
		}
		_, ok := old.ports[key]
		return ok
	}
	return s
}

// redirects says whether something that went by the old table goes elsewhere now: to a backend that left, or where there was no port.
func (t *table) redirects(old *table, protocol uint16) bool {
	stays := map[portKey]map[backend]bool{}
	for place, b := range t.backends {
		if stays[place.portKey] == nil {
			stays[place.portKey] = map[backend]bool{}
		}
		stays[place.portKey][b] = true
	}
	for place, b := range old.backends {
		if place.protocol == protocol && !stays[place.portKey][b] {
			return true
		}
	}
	for key := range t.ports {
		if _, ok := old.ports[key]; !ok && key.protocol == protocol {
			return true
		}
	}
	return false
}

func backendOf(a netip.AddrPort) backend { return backend{addressOf(a.Addr()), a.Port()} }
