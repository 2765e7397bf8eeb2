// Package conntrack makes the kernel forget connections.
//
// The kernel remembers where each connection goes, for minutes after its end: of a busy machine there are hundreds of thousands. So it is the
// kernel that looks for those in question (Among); only what it finds comes here, and of that a part at a time.
package conntrack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime/network/internal/socket"
)

// Flow is what the kernel remembers of a connection.
type Flow struct {
	// Protocol is the one above IP: unix.IPPROTO_TCP and so on. Without ports of its own those of the addresses below are 0.
	Protocol uint8
	// From opened it, and sent it To.
	From, To netip.AddrPort
	// Answers is where its answers come from: To, unless that was translated.
	Answers netip.AddrPort
	// Answered says that there has been an answer.
	Answered bool

	// whole is all that the kernel says of it.
	whole []byte
}

// Among says which flows come into question; the zero value says all of IPv4. A kernel that does not know one of the conditions leaves it out: who
// decides looks at the flow itself.
type Among struct {
	// IPv6 is for those of IPv6.
	IPv6 bool
	// Unanswered is for those that nobody has answered (Linux 5.18), and nobody answers within a moment.
	Unanswered bool
	// Protocol, From and Answers are for those that have it, when not zero. From and Answers are of IPv4: asked for an address of IPv6 the kernel (6.18) shows all
	// flows that do not have it.
	Protocol      uint8
	From, Answers netip.Addr
}

// moment is how long nobody must have answered for it to be said that nobody has: longer than an answer is under way, and less than the second after
// which the question is sent again.
const moment = 50 * time.Millisecond

// Forget makes the kernel forget, among those in question, the flows that are to go. One that has ended in the meantime is not an error, and one
// that has taken the place of another, from the same port of its client but to another backend, is not meant.
func Forget(among Among, goes func(Flow) bool) error {
	s, err := dial()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // nothing is under way
	var keys [][]byte
	err = s.list(among, func(f Flow) {
		if goes(f) {
			keys = append(keys, f.key())
		}
	})
	if among.Unanswered && len(keys) > 0 {
		<-time.NewTimer(moment).C
	}
	for _, key := range keys {
		if err == nil {
			err = s.forget(among, key)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot forget connections: %w", err)
	}
	return nil
}

// The kernel's numbers (linux/netfilter/nfnetlink_conntrack.h, and net/netfilter/nf_internals.h for the bits of filters).
const (
	msgNew, msgGet, msgDelete = unix.NFNL_SUBSYS_CTNETLINK << 8, unix.NFNL_SUBSYS_CTNETLINK<<8 | 1, unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	attrOrig, attrReply, attrStatus, attrID, attrZone, attrFilter, attrStatusMask = 1, 2, 3, 12, 18, 25, 26
	tupleIP, tupleProto                                                           = 1, 2
	ipSource, ipDestination                                                       = 1, 2
	ip6Source, ip6Destination                                                     = 3, 4
	protoNumber, protoSource, protoDestination                                    = 1, 2, 3
	filterOrig, filterReply                                                       = 1, 2

	bySource, byProtocol = 1 << 0, 1 << 3

	seenReply = 1 << 1 // IPS_SEEN_REPLY
)

// request is the body of a list's request.
func (a Among) request() []byte {
	body := a.family()
	var orig, reply uint32
	var origTuple, replyTuple []byte
	if a.From.Is4() {
		orig |= bySource
		origTuple = append(origTuple, attr(tupleIP|unix.NLA_F_NESTED, attr(ipSource, a.From.AsSlice()))...)
	}
	if a.Protocol != 0 {
		orig |= byProtocol
		origTuple = append(origTuple, attr(tupleProto|unix.NLA_F_NESTED, attr(protoNumber, []byte{a.Protocol}))...)
	}
	if a.Answers.Is4() {
		reply |= bySource
		replyTuple = append(replyTuple, attr(tupleIP|unix.NLA_F_NESTED, attr(ipSource, a.Answers.AsSlice()))...)
	}
	if orig|reply != 0 {
		flags := append(attr(filterOrig, binary.NativeEndian.AppendUint32(nil, orig)), attr(filterReply, binary.NativeEndian.AppendUint32(nil, reply))...)
		body = append(body, attr(attrFilter|unix.NLA_F_NESTED, flags)...)
	}
	if orig != 0 {
		body = append(body, attr(attrOrig|unix.NLA_F_NESTED, origTuple)...)
	}
	if reply != 0 {
		body = append(body, attr(attrReply|unix.NLA_F_NESTED, replyTuple)...)
	}
	if a.Unanswered {
		body = append(body, attr(attrStatus, make([]byte, 4))...)
		body = append(body, attr(attrStatusMask, binary.BigEndian.AppendUint32(nil, seenReply))...)
	}
	return body
}

// family begins each request and each description of a flow.
func (a Among) family() []byte {
	if a.IPv6 {
		return []byte{unix.AF_INET6, unix.NFNETLINK_V0, 0, 0}
	}
	return []byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}
}

// sizeofFamily is its length.
const sizeofFamily = 4

// attr is an attribute with its value.
func attr(kind uint16, value []byte) []byte { return socket.AppendAttribute(nil, kind, value) }

// flowOf reads what follows the family in the description of a flow.
func flowOf(b []byte) (Flow, error) {
	f, reply := Flow{whole: b}, Flow{}
	err := socket.Attributes(b, func(kind uint16, _, value []byte) {
		switch kind {
		case attrOrig:
			f.tuple(value)
		case attrReply:
			reply.tuple(value)
		case attrStatus:
			f.Answered = len(value) == 4 && binary.BigEndian.Uint32(value)&seenReply != 0
		}
	})
	f.Answers = reply.From
	return f, err
}

// key is what the kernel finds the flow by. That is how its answers look, as no other backend's do, and its number. The number alone does not tell
// it from a later flow: that is made of how the question looks and of a place in memory, which the later flow of the same client gets.
func (f Flow) key() (key []byte) {
	_ = socket.Attributes(f.whole, func(kind uint16, whole, _ []byte) { // it was well-formed before
		if kind == attrReply || kind == attrID || kind == attrZone {
			key = append(key, whole...)
		}
	})
	return key
}

// tuple reads one direction of a flow.
func (f *Flow) tuple(b []byte) {
	var from, to netip.Addr
	var source, destination uint16
	_ = socket.Attributes(b, func(kind uint16, _, value []byte) { // what is missing stays zero, and matches nothing
		_ = socket.Attributes(value, func(inner uint16, _, v []byte) {
			switch {
			case kind == tupleIP && (inner == ipSource || inner == ip6Source):
				from, _ = netip.AddrFromSlice(v)
			case kind == tupleIP && (inner == ipDestination || inner == ip6Destination):
				to, _ = netip.AddrFromSlice(v)
			case kind == tupleProto && inner == protoNumber && len(v) == 1:
				f.Protocol = v[0]
			case kind == tupleProto && inner == protoSource && len(v) == 2:
				source = binary.BigEndian.Uint16(v)
			case kind == tupleProto && inner == protoDestination && len(v) == 2:
				destination = binary.BigEndian.Uint16(v)
			}
		})
	})
	f.From, f.To = netip.AddrPortFrom(from, source), netip.AddrPortFrom(to, destination)
}
