// Package link speaks rtnetlink where it has to be quick: it joins a network namespace to a bridge in two requests.
package link

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"berth/runtime/network/internal/socket"
)

// message is one rtnetlink request: a header whose length and number are filled in by the socket, a fixed part, and attributes.
type message struct {
	what string // for errors: "bring up eth0"
	data []byte
	// index and flags are of the interface the kernel answered with, when it did.
	index int
	flags uint32
	// local says that the route it answered with is to an address of its own.
	local bool
}

func newMessage(what string, kind, flags uint16, fixed ...byte) *message {
	return &message{what: what, data: socket.Request(kind, unix.NLM_F_ACK|flags, fixed...)}
}

// read takes what an answer says of an interface or a route.
func (m *message) read(a socket.Answer) {
	switch {
	case a.Kind == unix.RTM_NEWLINK && len(a.Body) >= unix.SizeofIfInfomsg:
		m.index, m.flags = int(int32(binary.NativeEndian.Uint32(a.Body[4:]))), binary.NativeEndian.Uint32(a.Body[8:])
	case a.Kind == unix.RTM_NEWROUTE && len(a.Body) >= unix.SizeofRtMsg:
		const kind = 7 // rtm_type
		m.local = a.Body[kind] == unix.RTN_LOCAL
	}
}

// linkInfo is a struct ifinfomsg.
func linkInfo(flags, change uint32) []byte {
	p := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(p[8:], flags)
	binary.NativeEndian.PutUint32(p[12:], change)
	return p
}

func (m *message) bytes(kind uint16, value []byte) *message {
	m.data = socket.AppendAttribute(m.data, kind, value)
	return m
}

func (m *message) text(kind uint16, value string) *message {
	return m.bytes(kind, append([]byte(value), 0))
}

func (m *message) uint32(kind uint16, value uint32) *message {
	return m.bytes(kind, binary.NativeEndian.AppendUint32(nil, value))
}

// nest puts what inside appends into one attribute, after a fixed part.
func (m *message) nest(kind uint16, fixed []byte, inside func()) *message {
	start := len(m.data)
	m.bytes(kind, fixed)
	inside()
	binary.NativeEndian.PutUint16(m.data[start:], uint16(len(m.data)-start))
	return m
}
