package dir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"berth/manifests"
)

// errNotRegular: a FIFO, a device, a socket. Reading one could block for ever or never end.
var errNotRegular = errors.New("is not a regular file and is not read")

// stamp is what stat says of a file. Equal stamps mean equal content, unless the file was touched within the clock's granularity.
type stamp struct {
	ino, dev     uint64
	size         int64
	mtime, ctime int64
}

func stampOf(info fs.FileInfo) stamp {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
	}
	return stamp{ino: st.Ino, dev: uint64(st.Dev), size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano()} //nolint:unconvert // Dev is 32 bits elsewhere
}

// state is how a file was found.
type state struct {
	stamp  stamp
	busy   bool // somebody has it open for writing, or it changed while it was read
	leases bool // the kernel could tell about writers
	err    error
}

// readFile reads a whole file without ever blocking on what is none.
func readFile(path string) ([]byte, state) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // opening a device may already do something
		return nil, state{stamp: stampOf(info), err: errNotRegular}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, state{err: plainError(err)}
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, state{err: plainError(err)}
	}
	st := state{stamp: stampOf(before)}
	if !before.Mode().IsRegular() {
		st.err = errNotRegular
		return nil, st
	}
	if before.Size() > manifests.MaxFileSize {
		st.err = fmt.Errorf("is %d MiB: more than %d MiB are not read", before.Size()>>20, manifests.MaxFileSize>>20)
		return nil, st
	}
	st.busy, st.leases = hasWriter(f)
	if st.busy {
		return nil, st
	}
	data, err := io.ReadAll(io.LimitReader(f, manifests.MaxFileSize+1))
	if err != nil {
		st.err = plainError(err)
		return nil, st
	}
	after, err := f.Stat()
	if err != nil {
		st.err = plainError(err)
		return nil, st
	}
	// The lease was let go before the reading: a writer that came in between shows in the stamp, and at its close there is an event.
	st.busy = stampOf(after) != st.stamp || int64(len(data)) != before.Size()
	return data, st
}

// hasWriter asks the kernel whether anybody has the file open for writing: a read lease is refused then. The descriptor is ours alone, so
// the lease is gone before another process can notice. known is false where there are no leases (NFS, FUSE, files of other users).
func hasWriter(f *os.File) (busy, known bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false, false
	}
	errno := syscall.EBADF
	_ = raw.Control(func(fd uintptr) {
		if errno = setLease(fd, syscall.F_RDLCK); errno == 0 {
			_ = setLease(fd, syscall.F_UNLCK) // ours: it cannot fail
		}
	})
	return errno == syscall.EAGAIN, errno == syscall.EAGAIN || errno == 0
}

func setLease(fd uintptr, kind int) syscall.Errno {
	const setlease = 1024 // F_SETLEASE
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, setlease, uintptr(kind))
	return errno
}

// plainError takes the path out of an error: the fault has it already.
func plainError(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("cannot be read: %w", pe.Err)
	}
	return err
}

// racy reports whether a file was written so shortly before now that another write could hide behind the same time stamp. File systems
// stamp with the tick of the kernel, 10 ms at most; others (vfat, NFS) with a second or two.
func (s stamp) racy(now time.Time) bool {
	return now.UnixNano()-max(s.mtime, s.ctime) < int64(2*time.Second)
}
