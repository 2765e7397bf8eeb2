package security

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// foreignProgram is a complete program: it asks for its process id through the 32-bit gate and exits with 38 (ENOSYS) when that was refused
// so, with 0 when it got an answer.
func foreignProgram() []byte {
	code := []byte{
		0xb8, 20, 0, 0, 0, // mov eax, 20 (getpid of 32-bit x86)
		0xcd, 0x80, // int 0x80
		0x31, 0xff, // xor edi, edi
		0x85, 0xc0, // test eax, eax
		0x79, 4, // jns +4
		0xf7, 0xd8, // neg eax
		0x89, 0xc7, // mov edi, eax
		0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
		0x0f, 0x05, // syscall
	}
	const base = 0x400000
	elf := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	elf = binary.LittleEndian.AppendUint16(elf, 2)
	elf = binary.LittleEndian.AppendUint16(elf, 62)
	elf = binary.LittleEndian.AppendUint32(elf, 1)
	elf = binary.LittleEndian.AppendUint64(elf, base+120)
	elf = binary.LittleEndian.AppendUint64(elf, 64)
	elf = binary.LittleEndian.AppendUint64(elf, 0)
	elf = binary.LittleEndian.AppendUint32(elf, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		elf = binary.LittleEndian.AppendUint16(elf, v)
	}
	elf = binary.LittleEndian.AppendUint32(elf, 1) // PT_LOAD
	elf = binary.LittleEndian.AppendUint32(elf, 5) // read, execute
	size := uint64(120 + len(code))
	for _, v := range []uint64{0, base, base, size, size, 4096} {
		elf = binary.LittleEndian.AppendUint64(elf, v)
	}
	return append(elf, code...)
}

func TestThirtyTwoBitGateIsClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(path, foreignProgram(), 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := filtered(t, nil, "exec", path)
	if exitCode(err) != 0 {
		t.Skipf("this kernel has no 32-bit calls: %v %s", err, out)
	}
	if out, err = filtered(t, mustFilter(t, defaultCapabilities), "exec", path); exitCode(err) != 38 {
		t.Errorf("got %v %s, want ENOSYS", err, out)
	}
}
