package nft

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"berth/runtime"
)

// policyTable is what the table of the policies has in it. Chains and blocks are named for what they say: one that is there is never changed.
type policyTable struct {
	// chains are what is allowed to groups of pods, by name.
	chains map[string]runtime.PolicyGroup
	// incoming and outgoing lead a restricted pod to its chain.
	incoming, outgoing map[netip.Addr]string
	// peers are sets of pods, blocks of ranges, by name.
	peers  map[string]map[netip.Addr]struct{}
	blocks map[string][]runtime.AddrRange
	// itself holds each restricted pod: it may always reach itself.
	itself map[netip.Addr]struct{}
}

func newPolicyTable() *policyTable {
	return &policyTable{
		chains: map[string]runtime.PolicyGroup{}, incoming: map[netip.Addr]string{}, outgoing: map[netip.Addr]string{},
		peers: map[string]map[netip.Addr]struct{}{}, blocks: map[string][]runtime.AddrRange{}, itself: map[netip.Addr]struct{}{},
	}
}

func (t *policyTable) empty() bool { return len(t.chains) == 0 }

// computePolicies says what the table of one family has to have. What groups and rules there are is the same in each.
func computePolicies(p runtime.Policies, f family) *policyTable {
	t := newPolicyTable()
	for _, set := range p.Peers {
		t.peers[set.Name] = map[netip.Addr]struct{}{}
		for _, a := range set.Pods {
			if f.has(a) {
				t.peers[set.Name][a] = struct{}{}
			}
		}
	}
	for _, g := range p.Groups {
		t.chains[g.Name] = g
		by := t.incoming
		if g.Direction == runtime.Outgoing {
			by = t.outgoing
		}
		for _, a := range g.Pods {
			if f.has(a) {
				by[a], t.itself[a] = g.Name, struct{}{}
			}
		}
		for _, r := range g.Rules {
			if blocks := f.blocksOf(r.Blocks); len(blocks) > 0 {
				t.blocks[blocksName(blocks)] = blocks
			}
		}
	}
	return t
}

// blocksOf are the ranges of this family.
func (f family) blocksOf(list []runtime.AddrRange) []runtime.AddrRange {
	return slices.DeleteFunc(slices.Clone(list), func(r runtime.AddrRange) bool { return !f.has(r.First) || !f.has(r.Last) })
}

// gone are the names that only the old one has, come those that only the new one has, both sorted.
func gone[V any](old, now map[string]V) (gone, come []string) {
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, ok := now[name]; !ok {
			gone = append(gone, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, ok := old[name]; !ok {
			come = append(come, name)
		}
	}
	return gone, come
}

// protocolNumber is that of the IP header; false for one that nobody is judged by.
func protocolNumber(p runtime.Protocol) (byte, bool) {
	switch p {
	case runtime.TCP:
		return unix.IPPROTO_TCP, true
	case runtime.UDP:
		return unix.IPPROTO_UDP, true
	case runtime.SCTP:
		return unix.IPPROTO_SCTP, true
	}
	return 0, false
}

func portBytes(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

func blocksName(blocks []runtime.AddrRange) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(blocks)))
	return "blocks-" + hex.EncodeToString(sum[:8])
}
