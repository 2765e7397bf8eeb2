package program

import (
	"encoding/binary"
	"errors"
	"strconv"
	"syscall"
)

// The encoding, little-endian:
//
//	magic u32 | version u32 | steps u32 | relocations u32 | data u32
//	steps:       nr u64 | 6 × value u64 | 6 × kind u8 | save u8 | 0 u8 | skip u16 | 0 u16 | 3 × errno u32
//	relocations: offset u32 | kind u32
//	data
const (
	magic      = 0x62727450
	headerSize = 20
	stepSize   = 80
	relocSize  = 8

	// maxSteps and maxData bound what a keeper maps for one child: a program has some hundred steps and some ten kilobytes.
	maxSteps = 1 << 14
	maxData  = 16 << 20
)

// Encode returns the program as flat bytes, for Parse.
func (b *Builder) Encode() []byte {
	le := binary.LittleEndian
	out := make([]byte, 0, headerSize+stepSize*len(b.steps)+relocSize*len(b.relocs)+len(b.data))
	for _, v := range []int{magic, Version, len(b.steps), len(b.relocs), len(b.data)} {
		out = le.AppendUint32(out, uint32(v))
	}
	for _, s := range b.steps {
		out = le.AppendUint64(out, uint64(s.NR))
		for _, a := range s.Args {
			out = le.AppendUint64(out, a.value)
		}
		for _, a := range s.Args {
			out = append(out, byte(a.kind))
		}
		out = append(out, s.SaveTo, 0)
		out = le.AppendUint16(out, s.SkipOnError)
		out = append(out, 0, 0)
		for _, e := range s.Ignore {
			out = le.AppendUint32(out, uint32(e))
		}
	}
	for _, r := range b.relocs {
		out = le.AppendUint32(out, r.at)
		out = le.AppendUint32(out, uint32(r.kind))
	}
	return append(out, b.data...)
}

// Program is an encoded program that has been checked. It refers to the bytes it was parsed from.
type Program struct {
	steps, relocs, data []byte
}

var errShort = errors.New("program is truncated")

// Parse checks an encoded program: no argument, jump, register or relocation of it points outside.
func Parse(p []byte) (Program, error) {
	le := binary.LittleEndian
	if len(p) < headerSize || le.Uint32(p) != magic {
		return Program{}, errors.New("not a program")
	}
	if v := le.Uint32(p[4:]); v != Version {
		return Program{}, errors.New("program has version " + strconv.Itoa(int(v)) + ", not " + strconv.Itoa(Version))
	}
	steps, relocs, data := int(le.Uint32(p[8:])), int(le.Uint32(p[12:])), int(le.Uint32(p[16:]))
	if steps > maxSteps || relocs > maxData/8 || data > maxData {
		return Program{}, errors.New("program is too large")
	}
	p = p[headerSize:]
	if len(p) != steps*stepSize+relocs*relocSize+data {
		return Program{}, errShort
	}
	prog := Program{p[:steps*stepSize], p[steps*stepSize:][:relocs*relocSize], p[steps*stepSize+relocs*relocSize:]}
	for i := range steps {
		if err := prog.checkStep(i); err != nil {
			return Program{}, err
		}
	}
	for r := prog.relocs; len(r) > 0; r = r[relocSize:] {
		at, k := le.Uint32(r), kind(le.Uint32(r[4:]))
		if at%8 != 0 || uint64(at)+8 > uint64(data) || k != kindData && k != kindSlot {
			return Program{}, errors.New("relocation points outside of the program")
		}
		if err := prog.checkValue(k, le.Uint64(prog.data[at:])); err != nil {
			return Program{}, err
		}
	}
	return prog, nil
}

// Len is the number of steps.
func (p Program) Len() int { return len(p.steps) / stepSize }

// NR is the system call number of a step; 0 when there is no such step.
func (p Program) NR(i int) uintptr {
	if i < 0 || i >= p.Len() {
		return 0
	}
	return uintptr(binary.LittleEndian.Uint64(p.steps[i*stepSize:]))
}

// Executes tells whether a step replaces the child's program.
func (p Program) Executes(i int) bool {
	nr := p.NR(i)
	return nr == syscall.SYS_EXECVE || nr == sysExecveat
}

func (p Program) checkStep(i int) error {
	le := binary.LittleEndian
	s := p.steps[i*stepSize:][:stepSize]
	for j := range 6 {
		if err := p.checkValue(kind(s[56+j]), le.Uint64(s[8+8*j:])); err != nil {
			return errors.New("step " + strconv.Itoa(i) + ": " + err.Error())
		}
	}
	switch {
	case s[62] > Registers:
		return errors.New("step " + strconv.Itoa(i) + ": no such register")
	case le.Uint64(s) == NRJump && (kind(s[56]) != kindImm || le.Uint64(s[8:]) > uint64(p.Len())):
		return errors.New("step " + strconv.Itoa(i) + ": jump out of the program")
	case le.Uint64(s) == NRStore && (kind(s[56]) != kindData || le.Uint64(s[8:])+8 > uint64(len(p.data))):
		return errors.New("step " + strconv.Itoa(i) + ": store outside of the program")
	}
	return nil
}

func (p Program) checkValue(k kind, v uint64) error {
	switch {
	case k > kindReg:
		return errors.New("unknown kind of argument")
	case k == kindData && v >= uint64(len(p.data)):
		return errors.New("address outside of the program")
	case k == kindReg && v >= Registers:
		return errors.New("no such register")
	case k == kindSlot && v >= Slots:
		return errors.New("no such slot")
	}
	return nil
}
