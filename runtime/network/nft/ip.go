package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// Offsets in an IPv4 header, and of the destination port in that of TCP and UDP.
const (
	offsetSource      = 12
	offsetDestination = 16
	offsetPort        = 2
)

// metaReg is the register for whatever one match looks at.
const metaReg = 1

func addIP(c *nftables.Conn, t *nftables.Table, r Rules) {
	pre := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	rule := func(chain *nftables.Chain, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(parts...)})
	}
	loopback, linkLocal := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16")
	rule(pre, name(expr.MetaKeyIIFNAME, expr.CmpOpNeq, r.Bridge), accept())
	rule(pre, within(offsetSource, expr.CmpOpNeq, r.Pods), drop())
	// Nearly all goes to pods and Services. Here, as in the other chains, the sooner a packet is through the better: each comparison costs it some 20 ns.
	rule(pre, within(offsetDestination, expr.CmpOpEq, r.Pods), accept())
	rule(pre, within(offsetDestination, expr.CmpOpEq, r.ServiceRange), accept())
	rule(pre, within(offsetDestination, expr.CmpOpEq, loopback), drop())
	for _, protocol := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		rule(pre, within(offsetDestination, expr.CmpOpEq, linkLocal), dns(protocol), accept())
	}
	rule(pre, within(offsetDestination, expr.CmpOpEq, linkLocal), drop())

	// An answer that conntrack cannot place is not translated back: whoever asked would reset the connection of somebody it does not know.
	tracked := c.AddChain(&nftables.Chain{
		Name: "tracked", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle,
	})
	rule(tracked, state(expr.CtStateBitINVALID, true), name(expr.MetaKeyIIFNAME, expr.CmpOpEq, r.Bridge), drop())

	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	rule(forward, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, false), name(expr.MetaKeyOIFNAME, expr.CmpOpEq, r.Bridge),
		name(expr.MetaKeyIIFNAME, expr.CmpOpNeq, r.Bridge), notTranslated(), drop())

	out := c.AddChain(&nftables.Chain{
		Name: "output", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	// The sysctl against these is or-ed with that for all interfaces, which is not ours.
	rule(out, name(expr.MetaKeyOIFNAME, expr.CmpOpEq, r.Bridge), icmpRedirect(), drop())

	clients := c.AddChain(&nftables.Chain{
		Name: "clients", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: new(*nftables.ChainPriorityNATSource - 1),
	})
	rule(clients, name(expr.MetaKeyOIFNAME, expr.CmpOpEq, r.Bridge), marked(runtime.ClientMark), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: metaReg}, &expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: metaReg},
	})

	post := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	rule(post, within(offsetSource, expr.CmpOpEq, r.Pods), within(offsetDestination, expr.CmpOpNeq, r.Pods),
		name(expr.MetaKeyOIFNAME, expr.CmpOpNeq, r.Bridge), []expr.Any{&expr.Masq{}})
}

func join(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// name compares the name of an interface as a whole.
func name(key expr.MetaKey, op expr.CmpOp, link string) []expr.Any {
	full := make([]byte, unix.IFNAMSIZ)
	copy(full, link)
	return []expr.Any{&expr.Meta{Key: key, Register: metaReg}, &expr.Cmp{Op: op, Register: metaReg, Data: full}}
}

// namePrefix compares how the name of an interface begins.
func namePrefix(key expr.MetaKey, op expr.CmpOp, prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: metaReg}, &expr.Cmp{Op: op, Register: metaReg, Data: []byte(prefix)}}
}

// within compares an address of the IPv4 header with a range.
func within(offset uint32, op expr.CmpOp, p netip.Prefix) []expr.Any {
	mask := make([]byte, 4)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		payload(expr.PayloadBaseNetworkHeader, offset, 4, metaReg),
		&expr.Bitwise{SourceRegister: metaReg, DestRegister: metaReg, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: metaReg, Data: p.Masked().Addr().AsSlice()},
	}
}

// dns matches packets to port 53. Some clouds have their resolver at the address of their metadata.
func dns(protocol byte) []expr.Any {
	return append(transport(protocol),
		payload(expr.PayloadBaseTransportHeader, offsetPort, 2, metaReg), &expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: []byte{0, 53}})
}

func marked(mark uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: metaReg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: binaryutil.NativeEndian.PutUint32(mark)},
	}
}

// state matches packets whose connection is in one of the states, or in none of them.
func state(bits uint32, want bool) []expr.Any { return ctBits(expr.CtKeySTATE, bits, want) }

// notTranslated matches packets whose destination was not changed on the way. Who changes it to a pod's is root on this machine.
func notTranslated() []expr.Any {
	const dstNAT = 1 << 5 // IPS_DST_NAT
	return ctBits(expr.CtKeySTATUS, dstNAT, false)
}

func ctBits(key expr.CtKey, bits uint32, want bool) []expr.Any {
	op := expr.CmpOpEq
	if want {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		&expr.Ct{Register: metaReg, Key: key},
		&expr.Bitwise{SourceRegister: metaReg, DestRegister: metaReg, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: metaReg, Data: make([]byte, 4)},
	}
}

func icmpRedirect() []expr.Any {
	const redirect = 5 // ICMP_REDIRECT
	return append(transport(unix.IPPROTO_ICMP),
		payload(expr.PayloadBaseTransportHeader, 0, 1, metaReg), &expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: []byte{redirect}})
}

func transport(protocol byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: metaReg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: []byte{protocol}},
	}
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

// drop counts what it drops, so that `nft list table` shows why something does not work.
func drop() []expr.Any { return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}} }
