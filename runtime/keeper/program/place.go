package program

import (
	"encoding/binary"
	"errors"
	"strconv"
	"unsafe"
)

// Slots is the size of a Table.
const Slots = 128

// Table holds the descriptor number of each slot; -1 for none.
type Table [Slots]int32

// Clear empties all slots.
func (t *Table) Clear() {
	for i := range t {
		t[i] = -1
	}
}

// step is what the child reads: a step with addresses and descriptors in place.
type step struct {
	nr     uint64
	args   [6]uint64
	ignore [3]uint32
	regs   uint8 // bit i: argument i is the number of a register
	save   uint8
	skip   uint16
	_      uint64
}

// The child's steps take the place of the encoded ones.
var _ [stepSize]byte = [unsafe.Sizeof(step{})]byte{}

// Image is a program in memory, ready for a child.
type Image struct {
	steps *step
	count uint32
	base  unsafe.Pointer // of the arena
}

// ErrArena means that the arena is too small for the program; Size tells how large it must be.
var ErrArena = errors.New("arena is too small")

// Size is the room that programs take in an arena when placed together.
func Size(parts ...Program) int {
	n := 0
	for _, p := range parts {
		n += len(p.steps) + (len(p.data)+7)&^7
	}
	return n
}

// Place copies programs into an arena, one after the other, so that they run as one, and puts addresses and descriptors in place. The arena
// must come from mmap: it is aligned, never moves, and no collector looks at it. It returns an error for a slot that is used and empty.
func Place(arena []byte, slots *Table, parts ...Program) (Image, error) {
	if Size(parts...) > len(arena) || len(arena) == 0 {
		return Image{}, ErrArena
	}
	base := unsafe.Pointer(&arena[0])
	addr := uint64(uintptr(base))
	steps := 0
	for _, p := range parts {
		steps += p.Len()
	}
	first, data := 0, steps*stepSize
	for _, p := range parts {
		copy(arena[data:], p.data)
		for i := range p.Len() {
			if err := p.placeStep((*step)(unsafe.Pointer(&arena[(first+i)*stepSize])), i, first, addr+uint64(data), slots); err != nil {
				return Image{}, err
			}
		}
		if err := p.placeWords(arena[data:], addr+uint64(data), slots); err != nil {
			return Image{}, err
		}
		first += p.Len()
		data += (len(p.data) + 7) &^ 7
	}
	return Image{(*step)(base), uint32(steps), base}, nil
}

// placeStep makes the child's form of step i; first is the index of the program's first step among all, data the address of its data.
func (p Program) placeStep(to *step, i, first int, data uint64, slots *Table) error {
	le := binary.LittleEndian
	s := p.steps[i*stepSize:][:stepSize]
	*to = step{nr: le.Uint64(s), save: s[62], skip: le.Uint16(s[64:])}
	for j := range to.ignore {
		to.ignore[j] = le.Uint32(s[68+4*j:])
	}
	for j := range to.args {
		v, err := resolve(kind(s[56+j]), le.Uint64(s[8+8*j:]), data, slots)
		if err != nil {
			return err
		}
		to.args[j] = v
		if kind(s[56+j]) == kindReg {
			to.regs |= 1 << j
		}
	}
	if to.nr == NRJump {
		to.args[0] += uint64(first)
	}
	return nil
}

func (p Program) placeWords(to []byte, data uint64, slots *Table) error {
	le := binary.LittleEndian
	for r := p.relocs; len(r) > 0; r = r[relocSize:] {
		at := le.Uint32(r)
		v, err := resolve(kind(le.Uint32(r[4:])), le.Uint64(p.data[at:]), data, slots)
		if err != nil {
			return err
		}
		le.PutUint64(to[at:], v)
	}
	return nil
}

func resolve(k kind, v, data uint64, slots *Table) (uint64, error) {
	switch k {
	case kindData:
		return v + data, nil
	case kindSlot:
		if slots[v] < 0 {
			return 0, errors.New("slot " + strconv.FormatUint(v, 10) + " is empty")
		}
		return uint64(slots[v]), nil
	default: // kindImm, and kindReg, which the child resolves
		return v, nil
	}
}
