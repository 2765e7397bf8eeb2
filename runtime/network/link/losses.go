package link

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What stands where in a message of rtnetlink.
const (
	atType       = 4
	atLinkFlags  = messageHeader + 8  // of struct ifinfomsg: ifi_flags, ifi_change
	atLinkChange = messageHeader + 12 //
	atRouteAttrs = messageHeader + routeHeader
	atNetconf    = messageHeader + netconfHeader

	messageHeader = 16
	attrHeader    = 4
)

// losses lets through what Watch.read would make something of. Each pod that begins makes a dozen of messages, and each message that comes through wakes this
// process: of these none does, without IPv6.
func losses(ranges []netip.Prefix, tellNew bool) []bpf.Instruction {
	take, leave := bpf.RetConstant{Val: 1<<32 - 1}, bpf.RetConstant{Val: 0}
	created := leave
	if tellNew {
		created = take
	}
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: atType, Size: 2}}
	add := func(kind uint16, judge ...bpf.Instruction) {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(swapped16(kind)), SkipTrue: uint8(len(judge))})
		program = append(program, judge...)
	}
	add(unix.RTM_DELLINK, take)
	add(unix.RTM_DELADDR, take)
	add(
		unix.RTM_NEWLINK,
		bpf.LoadAbsolute{Off: atLinkFlags, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: swapped32(unix.IFF_UP), SkipTrue: 4}, // → leave
		bpf.LoadAbsolute{Off: atLinkChange, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 1<<32 - 1, SkipTrue: 3}, // → created
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: swapped32(unix.IFF_UP), SkipTrue: 1},
		take,
		leave,
		created,
	)
	add(unix.RTM_NEWNETCONF, append(attribute(atNetconf, netconfForwarding), bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipFalse: 1}, take, leave)...)
	route := attribute(atRouteAttrs, unix.RTA_DST)
	for _, p := range ranges {
		first := binary.BigEndian.Uint32(p.Addr().AsSlice())
		route = append(route, bpf.JumpIf{Cond: bpf.JumpEqual, Val: first, SkipFalse: 1}, take)
	}
	add(unix.RTM_DELROUTE, append(route, leave)...)
	return append(program, leave)
}

// attribute loads the beginning of an attribute, or leaves the message when it has none of this kind.
func attribute(from, kind uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadConstant{Dst: bpf.RegA, Val: from},
		bpf.LoadConstant{Dst: bpf.RegX, Val: kind},
		bpf.LoadExtension{Num: bpf.ExtNetlinkAttr},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.TAX{},
		bpf.LoadIndirect{Off: attrHeader, Size: 4},
	}
}

// BPF loads in the network's order what the kernel writes in the machine's.
func swapped16(v uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v))
}

func swapped32(v uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v))
}
