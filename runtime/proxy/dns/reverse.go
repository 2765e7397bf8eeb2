package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// family is how the addresses of one are spelt as names: a label for so many bits, in that base, the last first.
type family struct {
	suffix string
	bits   int // of an address
	label  int // bits of a label
	base   int
}

var (
	ipv4 = family{wire("in-addr.arpa"), 32, 8, 10}
	ipv6 = family{wire("ip6.arpa"), 128, 4, 16}
)

// labels is how many an address has.
func (f family) labels() int { return f.bits / f.label }

// reverseName is the name that an address is looked up by.
func reverseName(a netip.Addr) string {
	f := ipv4
	if a.Is6() {
		f = ipv6
	}
	var name strings.Builder
	for _, b := range slices.Backward(a.AsSlice()) {
		for shift := 0; shift < 8; shift += f.label {
			text := strconv.FormatUint(uint64(b>>shift)&(1<<f.label-1), f.base)
			name.WriteByte(byte(len(text)))
			name.WriteString(text)
		}
	}
	return name.String() + f.suffix
}

// findReverse is find for the names of addresses. The zone is said to begin at the label in which the range ends.
func (z *zone) findReverse(name string) (n *node, below int, ours bool) {
	for _, f := range []family{ipv4, ipv6} {
		if end, ok := cut(name, f.suffix); ok && end > 0 {
			return z.findIn(f, name, end)
		}
	}
	return nil, 0, false
}

// findIn is findReverse for a family, whose suffix begins at end.
func (z *zone) findIn(f family, name string, end int) (n *node, below int, ours bool) {
	var starts []int
	for at := 0; at < end; at += 1 + int(name[at]) {
		starts = append(starts, at)
	}
	slices.Reverse(starts)
	addr, known := f.address(name, starts)
	for _, r := range slices.Concat(z.podRanges, z.serviceRanges) {
		whole := (max(r.Bits(), 1) + f.label - 1) / f.label
		if known < whole || !r.Contains(addr) {
			continue
		}
		if n = z.names[name]; n == nil && len(starts) < f.labels() && known == len(starts) {
			n = &node{}
		}
		return n, starts[whole-1], true
	}
	return nil, 0, false
}

// address reads the labels that begin at starts, the first ones of an address first, and tells how many of them are such; the rest of it is zero.
func (f family) address(name string, starts []int) (a netip.Addr, known int) {
	b := make([]byte, f.bits/8)
	for known < min(len(starts), f.labels()) {
		at := starts[known]
		label := name[at+1 : at+1+int(name[at])]
		v, err := strconv.ParseUint(label, f.base, f.label)
		if err != nil || strconv.FormatUint(v, f.base) != label {
			break
		}
		bit := known * f.label
		b[bit/8] |= byte(v) << (8 - f.label - bit%8)
		known++
	}
	a, _ = netip.AddrFromSlice(b)
	return a, known
}
