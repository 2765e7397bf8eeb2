package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A key of the set is the name of an interface, a MAC and an address, each padded to whole 32-bit registers.
const (
	keyReg    = unix.NFT_REG32_00
	keyMACReg = keyReg + unix.IFNAMSIZ/4
	keyIPReg  = keyMACReg + 2 // the last of them, with IPv6, is REG32_09

	// chunk is how many elements go into one message: an attribute holds at most 64 KiB.
	chunk = 512
)

// Offsets in an Ethernet header and in an ARP packet for IPv4 over Ethernet.
const (
	offsetEtherSource = 6
	offsetARPMAC      = 8
	offsetARPAddress  = 14
)

// addBridge writes one set of who may send what from where, and asks it for every frame from a pod: one lookup, however many pods. It holds
// every address of the range, so that starting a pod changes nothing here.
func addBridge(c *nftables.Conn, t *nftables.Table, r Rules) {
	ports := addPorts(c, t, "ports", ipv4, r.Ports, func(p Port) netip.Addr { return p.Address })
	guard := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: new(bridgePriority),
	})
	rule := func(parts ...[]expr.Any) { c.AddRule(&nftables.Rule{Table: t, Chain: guard, Exprs: join(parts...)}) }
	etherMAC := payload(expr.PayloadBaseLLHeader, offsetEtherSource, 6, keyMACReg)
	rule(protocol(unix.ETH_P_IP), known(ports, etherMAC, payload(expr.PayloadBaseNetworkHeader, offsetSource, 4, keyIPReg)), accept())
	arpAddress := payload(expr.PayloadBaseNetworkHeader, offsetARPAddress, 4, keyIPReg)
	rule(protocol(unix.ETH_P_ARP), known(ports, etherMAC, arpAddress),
		known(ports, payload(expr.PayloadBaseNetworkHeader, offsetARPMAC, 6, keyMACReg), arpAddress), accept())
	if r.Pods6.IsValid() {
		ports6 := addPorts(c, t, "ports6", ipv6, r.Ports, func(p Port) netip.Addr { return p.Address6 })
		rule(cameFrom(r.Prefix), protocol(unix.ETH_P_IPV6), discovery(), drop())
		rule(cameFrom(r.Prefix), protocol(unix.ETH_P_IPV6), ipv6.icmpType(listenerReport), []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
		rule(protocol(unix.ETH_P_IPV6), readable(), known(ports6, etherMAC, ipv6.load(ipv6.source, keyIPReg)), accept())
	}
	rule(cameFrom(r.Prefix), drop())
}

// addPorts makes the set of who may send by one family.
func addPorts(c *nftables.Conn, t *nftables.Table, set string, f family, all []Port, address func(Port) netip.Addr) *nftables.Set {
	keyType := nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, f.address)
	ports := &nftables.Set{Table: t, Name: set, KeyType: keyType, Concatenation: true}
	_ = c.AddSet(ports, nil) // reported by Flush, as what follows
	for from := 0; from < len(all); from += chunk {
		var elements []nftables.SetElement
		for _, p := range all[from:min(from+chunk, len(all))] {
			elements = append(elements, nftables.SetElement{Key: key(p, address(p))})
		}
		_ = c.SetAddElements(ports, elements)
	}
	return ports
}

// listenerReport is what an interface says of its own accord of the groups it is in (RFC 3810), to nobody here: it is no sign of anything, so not counted.
const listenerReport = 143

// discovery matches what IPv6 asks and tells of neighbours and routers (RFC 4861). Pods and the machine know each other without: nobody has to
// believe any of it.
func discovery() []expr.Any {
	const solicitRouter, redirect = 133, 137
	return append(transport(unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, 1, metaReg),
		&expr.Cmp{Op: expr.CmpOpGte, Register: metaReg, Data: []byte{solicitRouter}}, &expr.Cmp{Op: expr.CmpOpLte, Register: metaReg, Data: []byte{redirect}})
}

// readable matches packets of which the kernel has found the transport protocol: else there may be behind some header what discovery looks for.
func readable() []expr.Any {
	const reserved = 255 // IANA
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: metaReg}, &expr.Cmp{Op: expr.CmpOpNeq, Register: metaReg, Data: []byte{reserved}}}
}

// bridgePriority is before everybody else's rules (NF_BR_PRI_FILTER_BRIDGED is -200).
const bridgePriority = nftables.ChainPriority(-300)

func protocol(ethertype uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: metaReg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: []byte{byte(ethertype >> 8), byte(ethertype)}},
	}
}

func payload(base expr.PayloadBase, offset, length, register uint32) *expr.Payload {
	return &expr.Payload{Base: base, Offset: offset, Len: length, DestRegister: register}
}

// known matches when interface, MAC and address belong together.
func known(ports *nftables.Set, mac, address *expr.Payload) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: keyReg}, mac, address,
		&expr.Lookup{SourceRegister: keyReg, SetName: ports.Name, SetID: ports.ID},
	}
}

func key(p Port, a netip.Addr) []byte {
	k := make([]byte, unix.IFNAMSIZ+8, unix.IFNAMSIZ+8+16)
	copy(k, p.Link)
	copy(k[unix.IFNAMSIZ:], p.MAC)
	return append(k, a.AsSlice()...)
}
