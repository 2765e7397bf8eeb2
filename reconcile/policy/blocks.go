package policy

import (
	"cmp"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"berth/runtime"
)

// blockOf are the addresses of a block without its exceptions. What cannot be read allows nothing.
func blockOf(b *networkingv1.IPBlock) []runtime.AddrRange {
	whole, ok := rangeOf(b.CIDR)
	if !ok {
		return nil
	}
	left := []runtime.AddrRange{whole}
	for _, text := range b.Except {
		except, ok := rangeOf(text)
		if !ok {
			return nil
		}
		var next []runtime.AddrRange
		for _, r := range left {
			next = append(next, without(r, except)...)
		}
		left = next
	}
	return left
}

// rangeOf is the range that a CIDR names.
func rangeOf(cidr string) (runtime.AddrRange, bool) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return runtime.AddrRange{}, false
	}
	const mapped = 96 // ::ffff:0:0/96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(last); bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return runtime.AddrRange{First: p.Addr(), Last: end}, true
}

// without is what of a range is not in another.
func without(r, except runtime.AddrRange) []runtime.AddrRange {
	if r.First.BitLen() != except.First.BitLen() || except.Last.Less(r.First) || r.Last.Less(except.First) {
		return []runtime.AddrRange{r}
	}
	var out []runtime.AddrRange
	if r.First.Less(except.First) {
		out = append(out, runtime.AddrRange{First: r.First, Last: except.First.Prev()})
	}
	if except.Last.Less(r.Last) {
		out = append(out, runtime.AddrRange{First: except.Last.Next(), Last: r.Last})
	}
	return out
}

// merge sorts ranges and makes one of those that touch.
func merge(list []runtime.AddrRange) []runtime.AddrRange {
	slices.SortFunc(list, func(x, y runtime.AddrRange) int { return cmp.Or(x.First.Compare(y.First), x.Last.Compare(y.Last)) })
	var out []runtime.AddrRange
	for _, r := range list {
		if n := len(out); n > 0 && out[n-1].First.BitLen() == r.First.BitLen() {
			last := &out[n-1]
			if after := last.Last.Next(); !after.IsValid() || r.First.Compare(after) <= 0 {
				if last.Last.Less(r.Last) {
					last.Last = r.Last
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

func contains(list []runtime.AddrRange, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(r runtime.AddrRange) bool { return r.Contains(a) })
}
