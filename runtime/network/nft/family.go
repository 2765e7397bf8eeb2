package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is what differs between IPv4 and IPv6 for nftables and in the header of a packet. All rules are written once.
type family struct {
	table     nftables.TableFamily
	nat       uint32
	ethertype uint16
	address   nftables.SetDatatype
	// size is that of an address in bytes, source and destination are where the header has them.
	size, source, destination uint32
	// icmp is the protocol that says what went wrong; redirect its advice to send to a neighbour directly, unreachable its code for a port where
	// nobody listens.
	icmp, redirect, unreachable byte
	// loopback is what the machine may be made to take from others.
	loopback []netip.Prefix
	// metadata are addresses at which a cloud tells machines their secrets, if not only that: its DNS may be there too.
	metadata []netip.Prefix
	at       registers
}

// registers are where a rule has what it looks up: some of them in a row make the key of each map.
type registers struct {
	source   uint32 // with all that follow but the last: what is remembered of a client
	address  uint32 // with protocol and port: a portKey
	protocol uint32
	port     uint32
	number   uint32 // with the portKey: a placeKey
	backend  uint32 // with backendPort: who takes the connection
	// backendPort is behind the address in backend.
	backendPort uint32
}

var ipv4 = family{
	table: nftables.TableFamilyIPv4, nat: unix.NFPROTO_IPV4, ethertype: unix.ETH_P_IP, address: nftables.TypeIPAddr,
	size: 4, source: offsetSource, destination: offsetDestination, icmp: unix.IPPROTO_ICMP, redirect: 5, unreachable: 3,
	loopback: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	metadata: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")},
	at: registers{
		source: unix.NFT_REG32_00, address: unix.NFT_REG32_01, protocol: unix.NFT_REG32_02, port: unix.NFT_REG32_03, number: unix.NFT_REG32_04,
		backend: unix.NFT_REG32_08, backendPort: unix.NFT_REG32_09,
	},
}

// ipv6 takes nothing from others for its loopback, whatever one sets. Amazon has its metadata at fd00:ec2::254 and its DNS beside it, Google at
// fd20:ce::254.
var ipv6 = family{
	table: nftables.TableFamilyIPv6, nat: unix.NFPROTO_IPV6, ethertype: unix.ETH_P_IPV6, address: nftables.TypeIP6Addr,
	size: 16, source: 8, destination: 24, icmp: unix.IPPROTO_ICMPV6, redirect: 137, unreachable: 4,
	metadata: []netip.Prefix{netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fd00:ec2::/32"), netip.MustParsePrefix("fd20:ce::/32")},
	at: registers{
		source: unix.NFT_REG32_00, address: unix.NFT_REG32_04, protocol: unix.NFT_REG32_08, port: unix.NFT_REG32_09, number: unix.NFT_REG32_10,
		backend: unix.NFT_REG32_11, backendPort: unix.NFT_REG32_15,
	},
}

// has tells whether an address is of this family.
func (f family) has(a netip.Addr) bool { return a.Is4() == (f.size == 4) && a.IsValid() && !a.Is4In6() }

// load puts an address of the header into registers.
func (f family) load(offset, register uint32) *expr.Payload {
	return payload(expr.PayloadBaseNetworkHeader, offset, f.size, register)
}

// loadBoth puts the source and, behind it, the destination into the registers of a client's key.
func (f family) loadBoth() []expr.Any {
	return []expr.Any{f.load(f.source, f.at.source), f.load(f.destination, f.at.address)}
}

// side is one family of an instance: what never changes, and what its tables have.
type side struct {
	family
	// pods and services are the ranges, ports the addresses that pods can have, clusterDNS is in the range of the Services; zero for none.
	pods, services netip.Prefix
	ports          []netip.Addr
	clusterDNS     netip.Addr

	// applied is what the table of the Services has; nil when that is not known, and the table is to be written as a whole.
	applied *table
	// policies is what the table of the policies has, likewise.
	policies *policyTable
}

// sides are one for IPv4 and, where pods have IPv6, one for that.
func (r Rules) sides() []*side {
	four := &side{family: ipv4, pods: r.Pods, services: r.ServiceRange, clusterDNS: r.ClusterDNS}
	six := &side{family: ipv6, pods: r.Pods6, services: r.ServiceRange6}
	for _, p := range r.Ports {
		four.ports = append(four.ports, p.Address)
		six.ports = append(six.ports, p.Address6)
	}
	if !r.Pods6.IsValid() {
		return []*side{four}
	}
	return []*side{four, six}
}
