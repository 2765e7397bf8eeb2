// Package wire is the language between a keeper and those who use it: packets on a SOCK_SEQPACKET unix socket.
//
//	client                                    keeper
//	  Hello{version} ───────────────────────▶
//	  ◀────────────────── Hello{version, pid, build, start}      or Failure
//	  request (kind, id, fields [, descriptors]) ▶
//	  ◀──────────── reply (Reply|kind, id, fields [, descriptor]) or Failure (same id)
//	  ◀──────────── event (ExitEvent, ExecExit; id 0)             any time, after Subscribe and Exec
//	  ◀──────────── Born (id of the Start) [namespace, gate]      before the reply to a Start with Attach
//
//	proxy (a client too, from version 3)      keeper
//	  Serve{build} ─────────────────────────▶                     "I am the proxy": its pid is that of the socket's peer
//	  ◀───────── Held{names, more} [sockets] …                     what it shall go on with; Failure busy: another one serves, let go
//	  Hold{name} [socket], Drop{name} ──────▶                     as it opens and closes them
//	  Serving ──────────────────────────────▶                     it accepts connections
//	  Serve{leaving} ───────────────────────▶                     it does not any more, and ends with the last one it has
//
// A packet is kind u32, id u64 and the fields of the message, little-endian. Fields are only ever added at the end; what a packet does not
// have is zero, and what it has too much is skipped. So a version can speak to the one before it and the one after.
package wire

import (
	"encoding/binary"
)

// Version of the protocol; a keeper and a client of this version also speak MinVersion.
const (
	Version    = 4 // 2: Start may make the sandbox too. 3: the proxy and its sockets, Attach, CloseInput, Log.Stdin. 4: Start.Target
	MinVersion = 1
)

// MaxPacket is the largest packet. It is well below the default send buffer of a socket. What does not fit, a program, travels as a memfd.
const MaxPacket = 32 << 10

// InlineProgram is the size up to which an encoded program is part of the packet.
const InlineProgram = 28 << 10

// MaxFiles is the number of descriptors that a request may carry for its program.
const MaxFiles = 64

// SocketName and friends are the files a keeper has in its run directory.
const (
	SocketName = "keeper.sock"
	LockName   = "keeper.lock"
	LogName    = "keeper.log"
	// ProxiesName lists the living proxies, for the keeper after a killed one: PID TICKS, one to a line, the one that serves first.
	ProxiesName = "keeper.proxies"
)

// Kind is what a packet means.
type Kind uint32

// The kinds of packets. Numbers are never used again.
const (
	HelloKind Kind = iota + 1
	SubscribeKind
	SandboxKind
	SandboxFDKind
	ForgetSandboxKind
	StartKind
	ExecKind
	SignalKind
	ForgetKind
	ListKind
	AdoptKind
	MountKind
	UnmountKind
	JoinKind
	UpgradeKind
	ShutdownKind
	ExitEventKind
	ExecExitKind
	FailureKind
	PTYKind
	BornKind
	ProxyKind
	ServeKind
	HoldKind
	DropKind
	ServingKind
	AttachKind
	CloseInputKind // ID: ends the standard input of Log.Stdin

	// Reply is added to the kind of the request.
	Reply Kind = 0x8000_0000
)

// Message is the content of a packet: it shows its fields, in order, to the coder.
type Message interface {
	Fields(*Coder)
}

// Coder writes or reads the fields of a message.
type Coder struct {
	buf     []byte
	reading bool
}

// Encode makes a packet.
func Encode(kind Kind, id uint64, m Message) []byte {
	c := Coder{buf: make([]byte, 0, 256)}
	c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(kind))
	c.buf = binary.LittleEndian.AppendUint64(c.buf, id)
	if m != nil {
		m.Fields(&c)
	}
	return c.buf
}

// Header reads kind and id of a packet; false when it is too short to have them.
func Header(p []byte) (Kind, uint64, bool) {
	if len(p) < 12 {
		return 0, 0, false
	}
	return Kind(binary.LittleEndian.Uint32(p)), binary.LittleEndian.Uint64(p[4:]), true
}

// Decode reads the fields of a packet into m. Strings are copies, bytes refer to the packet.
func Decode(p []byte, m Message) {
	if len(p) >= 12 {
		m.Fields(&Coder{buf: p[12:], reading: true})
	}
}

// Empty is a message without fields.
type Empty struct{}

// Fields implements Message.
func (Empty) Fields(*Coder) {}

// U64 is a field of 8 bytes.
func (c *Coder) U64(v *uint64) {
	if !c.reading {
		c.buf = binary.LittleEndian.AppendUint64(c.buf, *v)
		return
	}
	*v = 0
	if len(c.buf) >= 8 {
		*v = binary.LittleEndian.Uint64(c.buf)
		c.buf = c.buf[8:]
	} else {
		c.buf = nil
	}
}

// I64 is a signed field of 8 bytes.
func (c *Coder) I64(v *int64) {
	u := uint64(*v)
	c.U64(&u)
	*v = int64(u)
}

// Int is a number.
func (c *Coder) Int(v *int) {
	u := uint64(*v)
	c.U64(&u)
	*v = int(u)
}

// U32 is a field of 4 bytes (8 on the wire).
func (c *Coder) U32(v *uint32) {
	u := uint64(*v)
	c.U64(&u)
	*v = uint32(u)
}

// Bool is a truth value.
func (c *Coder) Bool(v *bool) {
	u := uint64(0)
	if *v {
		u = 1
	}
	c.U64(&u)
	*v = u != 0
}

// Bytes is a field of any length.
func (c *Coder) Bytes(v *[]byte) {
	n := uint64(len(*v))
	c.U64(&n)
	if !c.reading {
		c.buf = append(c.buf, *v...)
		return
	}
	*v = nil
	if n > uint64(len(c.buf)) {
		c.buf = nil
		return
	}
	if n > 0 {
		*v = c.buf[:n:n]
	}
	c.buf = c.buf[n:]
}

// String is text.
func (c *Coder) String(v *string) {
	if !c.reading {
		p := []byte(*v)
		c.Bytes(&p)
		return
	}
	var p []byte
	c.Bytes(&p)
	*v = string(p)
}

// Strings is a list of texts.
func (c *Coder) Strings(v *[]string) {
	n := len(*v)
	c.Int(&n)
	if c.reading {
		*v = nil
		for ; n > 0 && len(c.buf) > 0; n-- {
			var s string
			c.String(&s)
			*v = append(*v, s)
		}
		return
	}
	for i := range *v {
		c.String(&(*v)[i])
	}
}

// Nested is a structure with a length of its own, so that it may grow too.
func (c *Coder) Nested(fields func(*Coder)) {
	sub := Coder{reading: c.reading}
	if c.reading {
		c.Bytes(&sub.buf)
		fields(&sub)
		return
	}
	fields(&sub)
	c.Bytes(&sub.buf)
}

// Each is a list of structures, each with a length of its own.
func Each[T any](c *Coder, list *[]T, fields func(*T, *Coder)) {
	n := len(*list)
	c.Int(&n)
	if c.reading {
		*list = nil
		for ; n > 0 && len(c.buf) > 0; n-- {
			var v T
			c.Nested(func(sub *Coder) { fields(&v, sub) })
			*list = append(*list, v)
		}
		return
	}
	for i := range *list {
		c.Nested(func(sub *Coder) { fields(&(*list)[i], sub) })
	}
}
