package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// Offsets in an IPv4 header (those of IPv6 are in its family), and of the destination port in that of TCP and UDP.
const (
	offsetSource      = 12
	offsetDestination = 16
	offsetPort        = 2
)

// metaReg is the register for whatever one match looks at.
const metaReg = 1

// addIP writes the table of one family that never changes.
func addIP(c *nftables.Conn, r Rules, s *side) {
	t := replace(c, s.table, r.Table)
	pre := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	rule := func(chain *nftables.Chain, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(parts...)})
	}
	rule(pre, name(expr.MetaKeyIIFNAME, expr.CmpOpNeq, r.Bridge), accept())
	rule(pre, within(s.source, expr.CmpOpNeq, s.pods), drop())
	// Nearly all goes to pods and Services. Here, as in the other chains, the sooner a packet is through the better: each comparison costs it some 20 ns.
	rule(pre, within(s.destination, expr.CmpOpEq, s.pods), accept())
	rule(pre, within(s.destination, expr.CmpOpEq, s.services), accept())
	for _, loopback := range s.loopback {
		rule(pre, within(s.destination, expr.CmpOpEq, loopback), drop())
	}
	for _, metadata := range s.metadata {
		for _, protocol := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			rule(pre, within(s.destination, expr.CmpOpEq, metadata), dns(protocol), accept())
		}
		rule(pre, within(s.destination, expr.CmpOpEq, metadata), drop())
	}

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
	// The sysctl against these is or-ed with that for all interfaces, which is not ours; for IPv6 there is none.
	rule(out, name(expr.MetaKeyOIFNAME, expr.CmpOpEq, r.Bridge), s.icmpType(s.redirect), drop())

	if s.size == 4 { // of IPv6 no mark is long enough
		addClients(c, t, r)
	}
	post := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	rule(post, within(s.source, expr.CmpOpEq, s.pods), within(s.destination, expr.CmpOpNeq, s.pods),
		name(expr.MetaKeyOIFNAME, expr.CmpOpNeq, r.Bridge), []expr.Any{&expr.Masq{}})
}

// addClients puts back the addresses of clients (see runtime.ClientMark).
func addClients(c *nftables.Conn, t *nftables.Table, r Rules) {
	clients := c.AddChain(&nftables.Chain{
		Name: "clients", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: new(*nftables.ChainPriorityNATSource - 1),
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: clients, Exprs: join(name(expr.MetaKeyOIFNAME, expr.CmpOpEq, r.Bridge), marked(runtime.ClientMark), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: metaReg}, &expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: metaReg},
	})})
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

// cameFrom matches what came from an interface whose name begins so.
func cameFrom(prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: metaReg}, &expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: []byte(prefix)}}
}

// within compares an address of the header with a range of its family.
func within(offset uint32, op expr.CmpOp, p netip.Prefix) []expr.Any {
	size := p.Addr().BitLen() / 8
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		payload(expr.PayloadBaseNetworkHeader, offset, uint32(size), metaReg),
		&expr.Bitwise{SourceRegister: metaReg, DestRegister: metaReg, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
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

func (f family) icmpType(kind byte) []expr.Any {
	return append(transport(f.icmp),
		payload(expr.PayloadBaseTransportHeader, 0, 1, metaReg), &expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: []byte{kind}})
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
