package pages

import (
	"syscall"
	"unsafe"
)

// What linux/userfaultfd.h and linux/mman.h say.
const (
	madvNoHugePage = 15

	userModeOnly = 1 // faults of the kernel itself are none of ours; so no privilege is needed

	uffdAPI          = 0xaa
	featureWPAsync   = 1 << 15
	registerWP       = 2
	ioctlAPI         = 0xc018aa3f
	ioctlRegister    = 0xc020aa00
	descriptorIsOurs = syscall.O_CLOEXEC | syscall.O_NONBLOCK
)

// singly has the kernel map one page where one is used. By itself it maps sixteen, or as many as the page cache holds in one piece: of a program of 48 MiB that was used in
// 48 places, 18 MiB. There is no advice against that, but it keeps from it where somebody wants to know which pages are written to (userfaultfd, asynchronous: nobody is asked
// and nothing waits; Linux 6.7). Nobody writes here, so that costs nothing and does nothing else. The descriptor stays open for as long as the process lives.
func singly(mappings []mapping) error {
	fd, _, e := syscall.Syscall(sysUserfaultfd, descriptorIsOurs|userModeOnly, 0, 0)
	if e != 0 {
		return e
	}
	api := struct{ api, features, ioctls uint64 }{uffdAPI, featureWPAsync, 0}
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, fd, ioctlAPI, uintptr(unsafe.Pointer(&api))); e != 0 {
		syscall.Close(int(fd))
		return e
	}
	for _, m := range mappings {
		m.advise(madvNoHugePage) // two megabytes at once are another way than that
		register := struct{ from, length, mode, ioctls uint64 }{uint64(m.from), uint64(m.to - m.from), registerWP, 0}
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, fd, ioctlRegister, uintptr(unsafe.Pointer(&register))); e != 0 {
			return e
		}
	}
	return nil
}
