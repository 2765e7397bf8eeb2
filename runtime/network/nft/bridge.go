package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A key of the set is the name of an interface, a MAC and an address, each padded to whole 32-bit registers.
const (
	keyReg    = unix.NFT_REG32_00
	keyMACReg = keyReg + unix.IFNAMSIZ/4
	keyIPReg  = keyMACReg + 2

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
	keyType := nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr)
	ports := &nftables.Set{Table: t, Name: "ports", KeyType: keyType, Concatenation: true}
	if err := c.AddSet(ports, nil); err != nil {
		return // reported by Flush
	}
	for from := 0; from < len(r.Ports); from += chunk {
		var elements []nftables.SetElement
		for _, p := range r.Ports[from:min(from+chunk, len(r.Ports))] {
			elements = append(elements, nftables.SetElement{Key: key(p)})
		}
		_ = c.SetAddElements(ports, elements) // reported by Flush
	}
	guard := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: new(bridgePriority),
	})
	rule := func(parts ...[]expr.Any) { c.AddRule(&nftables.Rule{Table: t, Chain: guard, Exprs: join(parts...)}) }
	etherMAC := payload(expr.PayloadBaseLLHeader, offsetEtherSource, 6, keyMACReg)
	rule(protocol(unix.ETH_P_IP), known(ports, etherMAC, payload(expr.PayloadBaseNetworkHeader, offsetSource, 4, keyIPReg)), accept())
	arpAddress := payload(expr.PayloadBaseNetworkHeader, offsetARPAddress, 4, keyIPReg)
	rule(protocol(unix.ETH_P_ARP), known(ports, etherMAC, arpAddress),
		known(ports, payload(expr.PayloadBaseNetworkHeader, offsetARPMAC, 6, keyMACReg), arpAddress), accept())
	rule(namePrefix(expr.MetaKeyIIFNAME, expr.CmpOpEq, r.Prefix), drop())
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

func key(p Port) []byte {
	k := make([]byte, unix.IFNAMSIZ+8+4)
	copy(k, p.Link)
	copy(k[unix.IFNAMSIZ:], p.MAC)
	copy(k[unix.IFNAMSIZ+8:], p.Address.AsSlice())
	return k
}
