package proxy

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hide keeps the memory, with keys of certificates, from others, and the process from an early death when memory is short.
func hide() {
	name := [16]byte{'b', 'e', 'r', 't', 'h', '-', 'p', 'r', 'o', 'x', 'y'}
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0) // only for who looks at ps
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)                             // cannot fail
	for _, score := range []string{"-900", "-400", "-100"} {
		if os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0) == nil {
			break
		}
	}
}
