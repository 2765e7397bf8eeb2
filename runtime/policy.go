package runtime

import (
	"context"
	"net/netip"
)

// Judge decides which connections of pods come about. Its methods are idempotent and safe for concurrent use.
type Judge interface {
	// SetPolicies makes p what the kernel goes by, in one step, and returns when no new connection is judged by anything else. Connections that
	// are open stay. It holds until the next call, also while no berth runs. An error means that the old policies may still hold.
	SetPolicies(ctx context.Context, p Policies) error
}

// Policies say which pods may not connect, or be connected to, by everybody, and what is left to them. The zero value restricts nobody. Pods are
// addresses here, and are judged by those: a connection by way of a Service by the pod that it is led to. What comes from this machine itself
// reaches every pod.
type Policies struct {
	// Groups are sorted by name. A pod is in one for each direction at most; one that is in none for a direction is free in it.
	Groups []PolicyGroup
	// Peers are the sets that rules name, sorted by name.
	Peers []PolicyPeers
}

// Direction is that of a connection, as seen from the pod.
type Direction string

// The directions.
const (
	Incoming Direction = "ingress"
	Outgoing Direction = "egress"
)

// PolicyGroup is the pods that the same is allowed to.
type PolicyGroup struct {
	// Name is made of the direction and the rules: it is another one when these are. [a-z0-9-], at most 60 bytes, no two the same.
	Name      string
	Direction Direction
	// Pods are sorted.
	Pods []netip.Addr
	// Rules say what is allowed; nothing else is, but to itself.
	Rules []PolicyRule
}

// PolicyRule allows connections with some, at some ports.
type PolicyRule struct {
	// Everybody may be at the other end; else it is who is in the set of Peers named Peers ("" for none), or has an address in Blocks.
	Everybody bool
	Peers     string
	Blocks    []AddrRange // sorted, apart from each other
	// Ports are those of who is connected to; none for all of all protocols.
	Ports []PortRange
}

// PolicyPeers is a set of pods that others may connect with.
type PolicyPeers struct {
	// Name is made of what selects them, not of who they are: it stays while pods come and go. [a-z0-9-], at most 60 bytes.
	Name string
	// Pods are sorted.
	Pods []netip.Addr
}

// AddrRange is the addresses from First to Last, both of one family.
type AddrRange struct {
	First, Last netip.Addr
}

// Contains tells whether an address is in the range.
func (r AddrRange) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// PortRange is the ports of a protocol from First to Last.
type PortRange struct {
	Protocol    Protocol // TCP, UDP or SCTP
	First, Last uint16
}

// SCTP is judged by policies, and carried by nothing else of berth's.
const SCTP Protocol = "sctp"
