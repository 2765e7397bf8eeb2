package nft

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"berth/runtime"
)

// policyTable is what the table of the policies has in it. Chains and blocks are named for what they say: one that is there is never changed.
type policyTable struct {
	// chains are what is allowed to groups of pods, by name.
	chains map[string]runtime.PolicyGroup
	// incoming and outgoing lead a restricted pod to its chain.
	incoming, outgoing map[address]string
	// peers are sets of pods, blocks of ranges, by name.
	peers  map[string]map[address]struct{}
	blocks map[string][]runtime.AddrRange
	// itself holds each restricted pod twice: it may always reach itself.
	itself map[[8]byte]struct{}
}

// address is one of IPv4 as the kernel compares it.
type address [4]byte

func newPolicyTable() *policyTable {
	return &policyTable{
		chains: map[string]runtime.PolicyGroup{}, incoming: map[address]string{}, outgoing: map[address]string{},
		peers: map[string]map[address]struct{}{}, blocks: map[string][]runtime.AddrRange{}, itself: map[[8]byte]struct{}{},
	}
}

func (t *policyTable) empty() bool { return len(t.chains) == 0 }

// computePolicies says what the table has to have. Pods have no IPv6: nothing of it is judged.
func computePolicies(p runtime.Policies) *policyTable {
	t := newPolicyTable()
	for _, set := range p.Peers {
		t.peers[set.Name] = map[address]struct{}{}
		for _, a := range set.Pods {
			if a.Is4() {
				t.peers[set.Name][a.As4()] = struct{}{}
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
			if a.Is4() {
				by[a.As4()] = g.Name
				t.itself[[8]byte(slices.Concat(a.AsSlice(), a.AsSlice()))] = struct{}{}
			}
		}
		for _, r := range g.Rules {
			if blocks := ofIPv4(r.Blocks); len(blocks) > 0 {
				t.blocks[blocksName(blocks)] = blocks
			}
		}
	}
	return t
}

func ofIPv4(list []runtime.AddrRange) []runtime.AddrRange {
	return slices.DeleteFunc(slices.Clone(list), func(r runtime.AddrRange) bool { return !r.First.Is4() || !r.Last.Is4() })
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
