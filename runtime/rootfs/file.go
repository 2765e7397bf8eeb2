package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// holeSize is the granularity in which the zeros of sparse files become holes: the block size of the usual file systems.
const holeSize = 4096

func (u *unpacker) file(hdr *tar.Header, content io.Reader, at place) (err error) {
	if hdr.Size < 0 || hdr.Size > u.limits.Bytes-u.result.Bytes {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, u.limits.Bytes)
	}
	fd, err := unix.Openat(at.dirFD, at.base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := unix.Close(fd); err == nil {
			err = cerr
		}
	}()
	out := &fileWriter{fd: fd, sparse: isSparse(hdr)}
	if err := u.copy(out, content); err != nil {
		return err
	}
	if err := out.finish(); err != nil {
		return err
	}
	return setFileMetadata(fd, hdr)
}

func (u *unpacker) copy(out io.Writer, content io.Reader) error {
	for {
		n, err := io.ReadFull(content, u.buf)
		if n > 0 {
			if _, werr := out.Write(u.buf[:n]); werr != nil {
				return werr
			}
			u.result.Bytes += int64(n)
			if werr := u.opts.Wrote(int64(n)); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n > 0 && u.ended(content) {
			return nil
		}
		if err != nil {
			return readError(err)
		}
	}
}

// ended tells a file's end from that of a truncated stream, which io.ReadFull reports alike.
func (u *unpacker) ended(content io.Reader) bool {
	var one [1]byte
	n, err := content.Read(one[:])
	return n == 0 && errors.Is(err, io.EOF)
}

func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for _, key := range []string{"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.numblocks"} {
		if _, ok := hdr.PAXRecords[key]; ok {
			return true
		}
	}
	return false
}

// fileWriter writes a file from its start and leaves holes where a sparse one has zeros.
type fileWriter struct {
	fd     int
	sparse bool
	offset int64
}

func (w *fileWriter) Write(p []byte) (int, error) {
	if !w.sparse {
		return w.write(p)
	}
	done := 0
	for done < len(p) {
		block := p[done:min(done+holeSize, len(p))]
		if allZero(block) {
			w.offset += int64(len(block))
		} else if _, err := w.write(block); err != nil {
			return done, err
		}
		done += len(block)
	}
	return done, nil
}

func (w *fileWriter) write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pwrite(w.fd, p[done:], w.offset)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
		w.offset += int64(n)
	}
	return done, nil
}

// finish gives a sparse file its full length.
func (w *fileWriter) finish() error {
	if !w.sparse {
		return nil
	}
	return unix.Ftruncate(w.fd, w.offset)
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
