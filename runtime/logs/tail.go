package logs

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// tailStart finds where the last n lines of a stream begin: the index of the file, oldest first, and the offset in it. Files are read backwards,
// so the time depends on n and not on the size of the log.
func tailStart(files []*os.File, n int, stream string) (int, int64, error) {
	if len(files) == 0 {
		return 0, 0, nil
	}
	last := len(files) - 1
	size, err := files[last].Seek(0, io.SeekEnd)
	if err != nil || n <= 0 {
		return last, size, err
	}
	t := tailer{want: n, stream: stream}
	for i := last; i >= 0; i-- {
		found, offset, err := t.scan(files[i])
		if err != nil || found {
			return i, offset, err
		}
	}
	return 0, 0, nil
}

// tailer counts lines from the end. An entry with tag F ends a line; the line begins behind the F before it of the same stream.
type tailer struct {
	want   int
	stream string
	seen   int
}

// blockSize is a few pages: most tails are short.
const blockSize = 32 << 10

// scan looks through one file from its end. found means that the tail begins in it, at offset.
func (t *tailer) scan(f *os.File) (found bool, offset int64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, 0, err
	}
	var carry []byte // the beginning of the block after, up to its first newline: the end of a line that begins here
	for pos := end; pos > 0; {
		n := min(pos, blockSize)
		block := make([]byte, n, int(n)+len(carry))
		if _, err := f.ReadAt(block, pos-n); err != nil && !errors.Is(err, io.EOF) {
			return false, 0, err
		}
		pos -= n
		block = append(block, carry...)
		limit := len(block)
		for limit > 0 {
			i := bytes.LastIndexByte(block[:limit-1], '\n')
			if i < 0 && pos > 0 {
				break
			}
			line, whole := bytes.CutSuffix(block[i+1:limit], []byte{'\n'})
			if whole && t.entry(line) {
				return true, pos + int64(limit), nil
			}
			limit = i + 1
		}
		carry = block[:limit]
	}
	return false, 0, nil
}

// entry counts one; true when the tail begins behind it.
func (t *tailer) entry(line []byte) bool {
	e, err := parseEntry(line)
	if err != nil || e.partial || t.stream != "" && string(e.stream) != t.stream {
		return false
	}
	t.seen++
	return t.seen > t.want
}
