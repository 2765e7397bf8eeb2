package program

import (
	"bytes"
	"encoding/binary"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

func sample() *Builder {
	var b Builder
	b.Call("open", syscall.SYS_OPENAT, Imm(3), b.String("/x"), Imm(0)).SaveTo = 1
	b.Call("store", NRStore, b.Bytes(make([]byte, 8)), Reg(0))
	b.Call("use", syscall.SYS_READ, Slot(SlotGate), b.Words(b.String("abc"), Slot(2), Imm(7)), Imm(1)).Ignore[0] = syscall.EPIPE
	b.Call("loop", NRJump, Imm(1))
	return &b
}

func TestPlace(t *testing.T) {
	p, err := Parse(sample().Encode())
	if err != nil {
		t.Fatal(err)
	}
	arena := mapping(t)
	var slots Table
	slots.Clear()
	if _, err := Place(arena, &slots, p); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("placed with empty slots: %v", err)
	}
	slots[2], slots[SlotGate] = 42, 43
	image, err := Place(arena, &slots, p, p)
	if err != nil {
		t.Fatal(err)
	}
	steps := unsafe.Slice(image.steps, image.count)
	if image.count != 8 || steps[3].args[0] != 1 || steps[7].args[0] != 5 {
		t.Errorf("jumps to %d and %d of %d", steps[3].args[0], steps[7].args[0], image.count)
	}
	for _, s := range []step{steps[2], steps[6]} {
		words := at(arena, s.args[1])
		if text := at(arena, binary.LittleEndian.Uint64(words)); s.args[0] != 43 || !bytes.HasPrefix(text, []byte("abc\x00")) || words[8] != 42 || words[16] != 7 {
			t.Errorf("step = %+v, words = %v", s, words[:24])
		}
	}
	if steps[1].regs != 2 || steps[0].save != 1 || steps[2].ignore[0] != uint32(syscall.EPIPE) {
		t.Errorf("steps = %+v", steps[:3])
	}
	if _, err := Place(arena[:100], &slots, p); err == nil {
		t.Error("placed where there is no room")
	}
}

func at(arena []byte, addr uint64) []byte {
	return arena[addr-uint64(uintptr(unsafe.Pointer(&arena[0]))):]
}

func mapping(t *testing.T) []byte {
	t.Helper()
	m, err := syscall.Mmap(-1, 0, 1<<16, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(m) })
	return m
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]*Builder{}
	add := func(name string, s Step) { tests[name] = &Builder{steps: []Step{s}, data: make([]byte, 16)} }
	add("jump out", Step{NR: NRJump, Args: [6]Arg{Imm(2)}})
	add("computed jump", Step{NR: NRJump, Args: [6]Arg{Reg(0)}})
	add("address out", Step{Args: [6]Arg{{kindData, 16}}})
	add("store at the end", Step{NR: NRStore, Args: [6]Arg{{kindData, 9}}})
	add("store anywhere", Step{NR: NRStore, Args: [6]Arg{Imm(4096)}})
	add("register", Step{Args: [6]Arg{Reg(Registers)}})
	add("saved register", Step{SaveTo: Registers + 1})
	add("slot", Step{Args: [6]Arg{Slot(Slots)}})
	add("kind", Step{Args: [6]Arg{{kind: 9}}})
	tests["relocation"] = &Builder{relocs: []reloc{{16, kindData}}, data: make([]byte, 16)}
	tests["relocated value"] = &Builder{relocs: []reloc{{0, kindData}}, data: bytes.Repeat([]byte{0xff}, 16)}
	for name, b := range tests {
		if _, err := Parse(b.Encode()); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	good := sample().Encode()
	for i := range good {
		if _, err := Parse(good[:i]); err == nil {
			t.Fatalf("%d of %d bytes are accepted", i, len(good))
		}
	}
}

// FuzzParse: no bytes make Parse or Place panic or write outside.
func FuzzParse(f *testing.F) {
	f.Add(sample().Encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		prog, err := Parse(p)
		if err != nil || Size(prog) > 1<<16 {
			return
		}
		var slots Table
		_, _ = Place(mapping(t), &slots, prog)
	})
}
