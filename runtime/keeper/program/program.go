// Package program lays out a list of raw system calls for a freshly cloned child to run, before it is cloned.
//
// The child of a multi-threaded Go program may not allocate, lock or grow its stack. So everything it needs is prepared here as plain
// bytes: strings, structures, argument vectors and the calls themselves. The controller builds a program, the keeper maps and relocates
// it, the child interprets it. When a call fails the number of its step and the errno are all that is reported; the builder knows the name.
//
// It imports only what the keeper's early hook may import.
package program

import (
	"encoding/binary"
	"syscall"
)

// Version of the encoding. The keeper refuses others.
const Version = 1

// Pseudo system call numbers, understood by the interpreter.
const (
	// NRJump goes on at the step with the index of argument 0.
	NRJump = 0xffff_0000 + iota
	// NRExit ends the child with the status of argument 0.
	NRExit
	// NRStore writes the 8 bytes of argument 1 to the address of argument 0: a register into a structure.
	NRStore
)

// Slots at and above SlotSandbox are descriptors the keeper provides; those below are the ones sent along with the program, in order.
const (
	SlotUserNS = 64 + iota
	SlotNetNS
	SlotIPCNS
	SlotUTSNS
	SlotPIDNS
	SlotStdout // write end of the log FIFO of stdout, opened O_RDWR
	SlotStderr
	SlotGate   // read end of the gate: one byte lets the child go on, end of file means the keeper is gone
	SlotTarget // exec: pidfd of the container's first process
	SlotTTY    // exec with a terminal: the terminal's own end, to become 0, 1 and 2
	SlotReady  // container with a terminal: write one byte here when the master stands at SlotPTY, then read SlotGate
	SlotPTY    // container with a terminal: a reserved number; dup3 the pty master onto it (O_CLOEXEC) and the keeper fetches it from there
	SlotStdin  // read end of the pipe of a standard input that can end
)

// Registers a program may save results in.
const Registers = 16

type kind uint8

const (
	kindImm  kind = iota // the value itself
	kindData             // offset into the data, becomes an address
	kindSlot             // index of a descriptor
	kindReg              // result of an earlier step
)

// Arg is one argument of a call.
type Arg struct {
	kind  kind
	value uint64
}

// Imm is a number.
func Imm[T ~int | ~int32 | ~int64 | ~uint | ~uint16 | ~uint32 | ~uint64 | ~uintptr](v T) Arg {
	return Arg{kindImm, uint64(v)}
}

// Slot is a descriptor: sent along (0..63) or one of the keeper's.
func Slot(i int) Arg { return Arg{kindSlot, uint64(i)} }

// Reg is the result that an earlier step saved.
func Reg(i int) Arg { return Arg{kindReg, uint64(i)} }

// Step is one system call. A read that meets the end of the file counts as failed with EPIPE: that is how a child at its gate learns that
// the keeper is gone. The zero value of the optional fields means: any error ends the program.
type Step struct {
	NR   uintptr
	Args [6]Arg
	// Ignore lists errnos (0 = none) that do not end the program.
	Ignore [3]syscall.Errno
	// SkipOnError is the number of following steps left out when the call failed with an ignored errno.
	SkipOnError uint16
	// SaveTo is 1 + the register that receives the result; 0 for none.
	SaveTo uint8
}

// reloc is a word of the data that becomes an address or a descriptor when the program is placed.
type reloc struct {
	at   uint32
	kind kind
}

// Builder collects steps and data. The zero value is ready.
type Builder struct {
	steps   []Step
	names   []string
	data    []byte
	relocs  []reloc
	strings map[string]uint32
}

// Call appends a system call; name says what it does to people: "mount /proc". The returned step may be changed until the next Call.
func (b *Builder) Call(name string, nr uintptr, args ...Arg) *Step {
	s := Step{NR: nr}
	copy(s.Args[:], args)
	b.steps = append(b.steps, s)
	b.names = append(b.names, name)
	return &b.steps[len(b.steps)-1]
}

// Len is the number of steps so far: the index of the next.
func (b *Builder) Len() int { return len(b.steps) }

// Name is what the step with this index does; "" when there is no such step.
func (b *Builder) Name(i int) string {
	if i < 0 || i >= len(b.names) {
		return ""
	}
	return b.names[i]
}

// Names are the names of all steps, in order.
func (b *Builder) Names() []string { return b.names }

// String is the address of s, ended by a NUL. Equal strings share one place.
func (b *Builder) String(s string) Arg {
	if off, ok := b.strings[s]; ok {
		return Arg{kindData, uint64(off)}
	}
	if b.strings == nil {
		b.strings = map[string]uint32{}
	}
	off := b.put(append([]byte(s), 0), 1)
	b.strings[s] = off
	return Arg{kindData, uint64(off)}
}

// Bytes is the address of a copy of p, aligned to 8 bytes. The child may write there.
func (b *Builder) Bytes(p []byte) Arg { return Arg{kindData, uint64(b.put(p, 8))} }

// Words is the address of an array of 8-byte words, addresses and descriptors among them. A register cannot be: NRStore puts it there.
func (b *Builder) Words(words ...Arg) Arg {
	p := make([]byte, 8*len(words))
	off := b.put(p, 8)
	for i, w := range words {
		at := off + uint32(8*i)
		binary.LittleEndian.PutUint64(b.data[at:], w.value)
		if w.kind == kindData || w.kind == kindSlot {
			b.relocs = append(b.relocs, reloc{at, w.kind})
		}
	}
	return Arg{kindData, uint64(off)}
}

// Strings is the address of a NULL-ended array of strings, as execve takes it.
func (b *Builder) Strings(ss []string) Arg {
	words := make([]Arg, 0, len(ss)+1)
	for _, s := range ss {
		words = append(words, b.String(s))
	}
	return b.Words(append(words, Imm(0))...)
}

func (b *Builder) put(p []byte, align int) uint32 {
	for len(b.data)%align != 0 {
		b.data = append(b.data, 0)
	}
	off := len(b.data)
	b.data = append(b.data, p...)
	return uint32(off)
}
