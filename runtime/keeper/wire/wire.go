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
	"reflect"
)

// Version of the protocol; a keeper and a client of this version also speak MinVersion.
const (
	Version    = 5 // 2: Start may make the sandbox too. 3: the proxy and its sockets, Attach, CloseInput. 4: Start.Target. 5: Start.Input, Input
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
	CloseInputKind // ID: ends the standard input of Start.Input
	InputKind      // ID: replies with the descriptor that writes to it

	// Reply is added to the kind of the request.
	Reply Kind = 0x8000_0000
)

// Encode makes a packet of a message: a pointer to a struct of numbers, truth values, texts, bytes, arrays, and slices and structs of these; nil
// for none. Its fields follow each other in their order: numbers as 8 bytes, texts and bytes behind their length. Structs within it, but for
// embedded ones, have a length of their own, so that fields may be added at the end of each: who is older does not see them, who is newer finds zero.
func Encode(kind Kind, id uint64, m any) []byte {
	p := make([]byte, 0, 256)
	p = binary.LittleEndian.AppendUint32(p, uint32(kind))
	p = number(p, id)
	if m == nil {
		return p
	}
	return appendFields(p, reflect.ValueOf(m).Elem())
}

// Header reads kind and id of a packet; false when it is too short to have them.
func Header(p []byte) (Kind, uint64, bool) {
	if len(p) < headerSize {
		return 0, 0, false
	}
	return Kind(binary.LittleEndian.Uint32(p)), binary.LittleEndian.Uint64(p[4:]), true
}

// headerSize is that of kind and id.
const headerSize = 12

// Decode reads a packet into what Encode took. Texts are copies, bytes refer to the packet.
func Decode(p []byte, m any) {
	if len(p) >= headerSize {
		r := reader{p[headerSize:]}
		r.fields(reflect.ValueOf(m).Elem())
	}
}

func number(p []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(p, n) }

func appendFields(p []byte, v reflect.Value) []byte {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			p = appendFields(p, v.Field(i))
		} else {
			p = appendValue(p, v.Field(i))
		}
	}
	return p
}

func appendValue(p []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return number(p, 1)
		}
		return number(p, 0)
	case reflect.Int, reflect.Int64:
		return number(p, uint64(v.Int()))
	case reflect.Uint32, reflect.Uint64:
		return number(p, v.Uint())
	case reflect.String:
		return append(number(p, uint64(v.Len())), v.String()...)
	case reflect.Struct:
		sub := appendFields(nil, v)
		return append(number(p, uint64(len(sub))), sub...)
	case reflect.Slice:
		p = number(p, uint64(v.Len()))
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(p, v.Bytes()...)
		}
	case reflect.Array:
	default:
		panic("wire: no way to send a " + v.Type().String())
	}
	for i := range v.Len() {
		p = appendValue(p, v.Index(i))
	}
	return p
}

// reader is the rest of a packet. What is not there is zero.
type reader struct{ rest []byte }

func (r *reader) number() uint64 {
	if len(r.rest) < 8 {
		r.rest = nil
		return 0
	}
	n := binary.LittleEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return n
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.rest = nil
		return nil
	}
	p := r.rest[:n:n]
	r.rest = r.rest[n:]
	return p
}

func (r *reader) fields(v reflect.Value) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			r.fields(v.Field(i))
		} else {
			r.value(v.Field(i))
		}
	}
}

func (r *reader) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.number() != 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(r.number()))
	case reflect.Uint32:
		v.SetUint(uint64(uint32(r.number())))
	case reflect.Uint64:
		v.SetUint(r.number())
	case reflect.String:
		v.SetString(string(r.bytes()))
	case reflect.Struct:
		sub := reader{r.bytes()}
		sub.fields(v)
	case reflect.Array:
		for i := range v.Len() {
			r.value(v.Index(i))
		}
	case reflect.Slice:
		r.slice(v)
	default:
		panic("wire: no way to read a " + v.Type().String())
	}
}

// slice takes as many elements as there are, whatever number is claimed.
func (r *reader) slice(v reflect.Value) {
	v.SetZero()
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if p := r.bytes(); len(p) > 0 {
			v.SetBytes(p)
		}
		return
	}
	for n := r.number(); n > 0 && len(r.rest) > 0; n-- {
		one := reflect.New(v.Type().Elem()).Elem()
		r.value(one)
		v.Set(reflect.Append(v, one))
	}
}
