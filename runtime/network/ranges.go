package network

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"berth/runtime/network/ipam"
)

// dnsPlace is where in the range of the Services the address of the DNS is, as Kubernetes installers have it by custom: the tenth.
const dnsPlace = 10

// decideRanges completes what is to be kept: the range of the pods and then, beside it, that of the Services.
func decideRanges(cfg Config, kept state, f findings) (state, error) {
	pods, err := decideRange(cfg, kept.PodCIDR, f)
	if err != nil {
		return kept, err
	}
	services, err := decideServices(cfg, kept.ServiceCIDR, append(slices.Clone(f.taken), pods))
	if err != nil {
		return kept, err
	}
	return decideRanges6(cfg, kept, state{PodCIDR: pods, ServiceCIDR: services, settings: kept.or(f.before)}, f)
}

// decideRange says which range the pods get: the one asked for, the one they have, the kept one while it is free, or a new one.
func decideRange(cfg Config, kept netip.Prefix, f findings) (netip.Prefix, error) {
	if want := cfg.PodCIDR; want.IsValid() {
		if f.ports && f.own.IsValid() && f.own != want.Masked() {
			return want, fmt.Errorf("cannot use %s for pods: pods are running in %s; run berth down first", want, f.own)
		}
		if t, clash := ipam.Overlap(want, f.taken); clash {
			return want, fmt.Errorf("cannot use %s for pods: this machine uses %s already", want, t)
		}
		return want.Masked(), nil
	}
	if f.own.IsValid() && (f.ports || f.own == kept) {
		return f.own, nil
	}
	if _, clash := ipam.Overlap(kept, f.taken); kept.IsValid() && !clash {
		return kept, nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(cfg.ID))
	return ipam.Choose(f.taken, h.Sum32())
}

// decideServices says which range the Services get: the one asked for, the kept one while it is free, or a new one.
func decideServices(cfg Config, kept netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	if want := cfg.ServiceCIDR; want.IsValid() {
		if !want.Addr().Is4() || want.Bits() > 28 {
			return want, fmt.Errorf("cannot use %s for Services: it is not an IPv4 range of at least 16 addresses", want)
		}
		if t, clash := ipam.Overlap(want, taken); clash {
			return want, fmt.Errorf("cannot use %s for Services: this machine uses %s already", want, t)
		}
		return want.Masked(), nil
	}
	if _, clash := ipam.Overlap(kept, taken); kept.IsValid() && !clash {
		return kept, nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(cfg.ID + " services"))
	return ipam.Choose(taken, h.Sum32())
}

// place is an address of a range by its number, the first one being 0.
func place(p netip.Prefix, number int) netip.Addr {
	addr := p.Addr()
	for range number {
		addr = addr.Next()
	}
	return addr
}

// mask is a range in the words of package net.
func mask(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// familyOf is the number of an address's family for the kernel.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
