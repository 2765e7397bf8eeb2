// Package ipam hands out the addresses of a pod network and chooses its range.
package ipam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
)

// MaxPods bounds the addresses in use, whatever the size of the range: as many as a /20 has. Each has an entry in the packet filter.
const MaxPods = 4096

// Pool is the addresses of one range. The first one is the machine's. It is safe for concurrent use.
type Pool struct {
	prefix netip.Prefix
	size   uint32 // offsets 2 to size-1 are for pods

	mu     sync.Mutex
	byUID  map[string]uint32
	used   map[uint32]string
	fresh  uint32   // how many offsets have not been looked at yet
	next   uint32   // the next of them
	queued []uint32 // released ones, the oldest first
}

// New makes a pool of the addresses in prefix, an IPv4 range of at least four. The first address handed out lies start places behind the
// beginning, so that a new process does not begin with what the old one used last.
func New(prefix netip.Prefix, start uint32) (*Pool, error) {
	if !prefix.Addr().Is4() || prefix.Bits() > 30 || prefix.Masked() != prefix {
		return nil, fmt.Errorf("cannot use %s for pods: it is not an IPv4 range of at least 4 addresses", prefix)
	}
	size := uint32(MaxPods)
	if bits := 32 - prefix.Bits(); bits < 12 {
		size = 1 << bits
	}
	size-- // the last address is the broadcast one
	count := size - 2
	return &Pool{
		prefix: prefix, size: size, fresh: count, next: 2 + start%count,
		byUID: map[string]uint32{}, used: map[uint32]string{},
	}, nil
}

// Prefix is the range.
func (p *Pool) Prefix() netip.Prefix { return p.prefix }

// Gateway is the machine's address in the range.
func (p *Pool) Gateway() netip.Addr { return p.At(1) }

// Addresses are all addresses a pod can get.
func (p *Pool) Addresses() []netip.Addr {
	addrs := make([]netip.Addr, 0, p.size)
	for offset := uint32(2); offset < p.size; offset++ {
		addrs = append(addrs, p.At(offset))
	}
	return addrs
}

// Offset is the place of an address in the range; false when a pod cannot have it.
func (p *Pool) Offset(addr netip.Addr) (uint32, bool) {
	if !p.prefix.Contains(addr) {
		return 0, false
	}
	offset := number(addr) - number(p.prefix.Addr())
	return offset, offset >= 2 && offset < p.size
}

// Allocate returns the pod's address, choosing one when it has none: first such that no pod has had in this process, then the one that was
// released longest ago.
func (p *Pool) Allocate(uid string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if offset, ok := p.byUID[uid]; ok {
		return p.At(offset), nil
	}
	offset, ok := p.choose()
	if !ok {
		return netip.Addr{}, fmt.Errorf("cannot find a free address: all %d of %s are in use", p.size-2, p.prefix)
	}
	p.byUID[uid], p.used[offset] = offset, uid
	return p.At(offset), nil
}

func (p *Pool) choose() (uint32, bool) {
	for p.fresh > 0 {
		offset := p.next
		p.fresh--
		if p.next++; p.next == p.size {
			p.next = 2
		}
		if p.used[offset] == "" {
			return offset, true
		}
	}
	for len(p.queued) > 0 {
		offset := p.queued[0]
		p.queued = p.queued[1:]
		if p.used[offset] == "" {
			return offset, true
		}
	}
	return 0, false
}

// Reserve records that a pod has this address. That another pod has it, or this pod another one, is an error.
func (p *Pool) Reserve(uid string, addr netip.Addr) error {
	offset, ok := p.Offset(addr)
	if !ok {
		return fmt.Errorf("cannot reserve %s: it is not a pod's address in %s", addr, p.prefix)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other := p.used[offset]; other != "" && other != uid {
		return fmt.Errorf("cannot reserve %s for pod %s: pod %s has it", addr, uid, other)
	}
	if old, ok := p.byUID[uid]; ok && old != offset {
		return fmt.Errorf("cannot reserve %s for pod %s: it has %s", addr, uid, p.At(old))
	}
	p.byUID[uid], p.used[offset] = offset, uid
	return nil
}

// Release gives a pod's address back and returns it; false for a pod without one.
func (p *Pool) Release(uid string) (netip.Addr, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	offset, ok := p.byUID[uid]
	if !ok {
		return netip.Addr{}, false
	}
	delete(p.byUID, uid)
	delete(p.used, offset)
	p.queued = append(p.queued, offset)
	return p.At(offset), true
}

// Holder is the pod that has an address, "" for none.
func (p *Pool) Holder(addr netip.Addr) string {
	offset, ok := p.Offset(addr)
	if !ok {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used[offset]
}

// At is the address at a place of the range.
func (p *Pool) At(offset uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(p.prefix.Addr())+offset)
	return netip.AddrFrom4(b)
}

func number(addr netip.Addr) uint32 {
	b := addr.As4()
	return binary.BigEndian.Uint32(b[:])
}
