package ipam

import (
	"fmt"
	"net/netip"
)

// rangeBits is the length of the ranges berth chooses: 4096 addresses.
const rangeBits = 20

// defaultRouteBits: what is shorter than this is a way out of the machine, not a network that pods would hide. VPNs write the default route
// as two halves.
const defaultRouteBits = 8

// Choose returns a range that overlaps none of the taken ones, the same one for the same start as long as it is free.
func Choose(taken []netip.Prefix, start uint32) (netip.Prefix, error) {
	candidates := candidates()
	for i := range candidates {
		c := candidates[(int(start%uint32(len(candidates)))+i)%len(candidates)]
		if _, clash := Overlap(c, taken); !clash {
			return c, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("cannot find a free range: this machine has routes to every private network; name them with --pod-cidr and --service-cidr")
}

// Overlap returns the first of the taken ranges that shares an address with c.
func Overlap(c netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if t.Bits() >= defaultRouteBits && t.Overlaps(c) {
			return t, true
		}
	}
	return netip.Prefix{}, false
}

// candidates are the ranges in a corner of each private network that other software does not take by default: not 10.0 (clouds), 10.42 (k3s),
// 10.88 (podman), 10.96 and 10.244 (Kubernetes), 172.17 to 172.19 (Docker).
func candidates() []netip.Prefix {
	var all []netip.Prefix
	add := func(first byte, from, to int) {
		for second := from; second <= to; second++ {
			for third := 0; third < 256; third += 16 {
				all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{first, byte(second), byte(third), 0}), rangeBits))
			}
		}
	}
	add(10, 200, 239)
	add(172, 24, 31)
	add(192, 168, 168)
	return all
}
