package proxy

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls that carry bytes never wait, so Go's scheduler is not told of them. It would take the processor away from one that moves a megabyte, and its
// monitor, which does that, would look every 20 µs whether it should: 2,000 switches for each GB, and a fifth of the proxy's time.

func read(fd uintptr, b []byte) (int, error) {
	return result(func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	})
}

func write(fd uintptr, b []byte) (int, error) {
	return result(func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	})
}

// splice moves what there is from one descriptor to the other, as far as it is taken.
func splice(from, to, most int) (int, error) {
	return result(func() (uintptr, uintptr, unix.Errno) {
		return unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(most), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	})
}

func result(call func() (uintptr, uintptr, unix.Errno)) (int, error) {
	n, _, e := call()
	for e == unix.EINTR {
		n, _, e = call()
	}
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
