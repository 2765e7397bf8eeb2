package keeper

import (
	"strconv"
	"syscall"
	"unsafe"
)

const (
	atEmptyPath     = 0x1000
	atFDCWD         = -100
	openTreeClone   = 1
	mountAttrRDOnly = 1
	closeCloexec    = 4 // CLOSE_RANGE_CLOEXEC
	maxFD           = 1<<31 - 1

	prSetDumpable       = 4
	prSetName           = 15
	prSetChildSubreaper = 36

	cloneNewUser   = 0x10000000
	cloneNewNS     = 0x00020000
	cloneNewPID    = 0x20000000
	cloneNewNet    = 0x40000000
	cloneNewIPC    = 0x08000000
	cloneNewUTS    = 0x04000000
	cloneNewCgroup = 0x02000000
)

func closeFD(fd *int) {
	if *fd >= 0 {
		syscall.Close(*fd)
		*fd = -1
	}
}

func dup(fd int) (int, error) {
	n, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 3)
	return int(n), errnoErr(e)
}

// open opens a file, trying again when a signal came in between.
func open(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := syscall.Open(path, flags|syscall.O_CLOEXEC, mode)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

// writeFile writes a small kernel file in one call.
func writeFile(path, text string) error {
	fd, err := open(path, syscall.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	_, err = syscall.Write(fd, []byte(text))
	return err
}

// readFile reads up to len(p) bytes of a small file.
func readFile(path string, p []byte) ([]byte, error) {
	fd, err := open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	n, err := syscall.Read(fd, p)
	if err != nil {
		return nil, err
	}
	return p[:n], nil
}

func pidfdOpen(pid int) (int, error) {
	fd, _, e := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	return int(fd), errnoErr(e)
}

func pidfdSignal(pidfd int, sig uint32) error {
	_, _, e := syscall.Syscall6(sysPidfdSendSignal, uintptr(pidfd), uintptr(sig), 0, 0, 0, 0)
	return errnoErr(e)
}

func pidfdGetFD(pidfd, fd int) (int, error) {
	n, _, e := syscall.Syscall(sysPidfdGetfd, uintptr(pidfd), uintptr(fd), 0)
	return int(n), errnoErr(e)
}

func setns(fd int, flags uintptr) error {
	_, _, e := syscall.RawSyscall(sysSetns, uintptr(fd), flags, 0)
	return errnoErr(e)
}

func memfd(name string, flags uintptr) (int, error) {
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	fd, _, e := syscall.Syscall(sysMemfdCreate, uintptr(unsafe.Pointer(p)), flags|1, 0)
	return int(fd), errnoErr(e)
}

func prctl(option int, arg uintptr) error {
	_, _, e := syscall.Syscall6(syscall.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0)
	return errnoErr(e)
}

func ioctl(fd int, request, arg uintptr) error {
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, arg)
	return errnoErr(e)
}

func errnoErr(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

const (
	pollIn  = 1
	pollHup = 0x10
)

// poll waits for one of the descriptors for at most this many nanoseconds.
func poll(fds []pollFD, ns int64) (int, error) {
	ts := syscall.NsecToTimespec(max(ns, 0))
	n, _, e := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	return int(n), errnoErr(e)
}

// startTicks is field 22 of /proc/PID/stat; 0 when there is no such process.
func startTicks(pid int) uint64 {
	var buf [1024]byte
	p, err := readFile("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return 0
	}
	i := len(p) - 1 // the name in parentheses may hold anything: count from its end
	for ; i >= 0 && p[i] != ')'; i-- {
	}
	field, ticks := 2, uint64(0)
	for _, b := range p[i+1:] {
		switch {
		case b == ' ':
			field++
		case field == 22:
			ticks = ticks*10 + uint64(b-'0')
		case field > 22:
			return ticks
		}
	}
	return ticks
}

// below tells whether path is a clean absolute path below dir.
func below(dir, path string) bool {
	if len(path) <= len(dir)+1 || path[:len(dir)] != dir || path[len(dir)] != '/' {
		return false
	}
	for rest := path[len(dir)+1:]; ; {
		i := 0
		for i < len(rest) && rest[i] != '/' && rest[i] != 0 {
			i++
		}
		if part := rest[:i]; part == "" || part == "." || part == ".." || i < len(rest) && rest[i] == 0 {
			return false
		}
		if i == len(rest) {
			return true
		}
		rest = rest[i+1:]
	}
}
