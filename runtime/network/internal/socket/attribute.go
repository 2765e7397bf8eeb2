package socket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// typeMask is what of an attribute's type is not a flag (NLA_TYPE_MASK).
const typeMask = 0x3fff

// AppendAttribute adds an attribute with its value, up to where the next may begin.
func AppendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

// Attributes shows those in b: their kind, all of them, and their value.
func Attributes(b []byte, show func(kind uint16, whole, value []byte)) error {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return ErrMalformed
		}
		end := min(align(size), len(b))
		show(binary.NativeEndian.Uint16(b[2:])&typeMask, b[:end], b[unix.SizeofNlAttr:size])
		b = b[end:]
	}
	return nil
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
