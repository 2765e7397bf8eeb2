package keeper

import (
	"time"
)

// A line of a log is `TIME STREAM TAG TEXT`, as Kubernetes' CRI has it: TIME is RFC 3339 with nanoseconds in UTC, TAG is F for a line (or the
// last piece of one) and P for a piece that goes on in the next entry of the same stream. TEXT is what the container wrote, byte for byte.

// pieceSize is the greatest length of TEXT: what the kubelet and containerd use, and what readers expect.
const pieceSize = 16 << 10

const timeFormat = "2006-01-02T15:04:05.000000000Z"

// flushSize is when lines collected so far are written: a multiple of the pipe's size makes few system calls.
const flushSize = 64 << 10

// write takes what was read from the stream.
func (s *stream) write(p []byte) {
	if s.out.file == nil {
		return
	}
	k := s.out.k
	var head [64]byte
	prefix := time.Now().UTC().AppendFormat(head[:0], timeFormat)
	prefix = append(append(append(prefix, ' '), s.name...), ' ')
	out := k.out[:0]
	for len(p) > 0 {
		n, whole := nextPiece(p, pieceSize-len(s.tail))
		if !whole && len(s.tail)+n < pieceSize {
			s.tail = append(s.tail, p...)
			break
		}
		tag := byte('P')
		if whole {
			tag = 'F'
		}
		out = append(append(out, prefix...), tag, ' ')
		out = append(append(append(out, s.tail...), p[:n]...), '\n')
		s.tail, s.inLine = nil, !whole
		if p = p[n:]; whole {
			p = p[1:]
		}
		if len(out) > flushSize {
			s.out.file.write(out)
			out = out[:0]
		}
	}
	if len(out) > 0 {
		s.out.file.write(out)
	}
	k.out = out[:0]
}

// nextPiece is the length of the text up to the next newline, at most limit, and whether the newline is there.
func nextPiece(p []byte, limit int) (int, bool) {
	for i, b := range p {
		if b == '\n' {
			return i, true
		}
		if i == limit {
			return limit, false
		}
	}
	return min(len(p), limit), false
}

// flush ends a line whose end never came.
func (s *stream) flush() {
	if len(s.tail) > 0 || s.inLine {
		s.write([]byte{'\n'})
	}
}
