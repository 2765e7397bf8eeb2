package security

import "golang.org/x/sys/unix"

const (
	nativeArch = unix.AUDIT_ARCH_AARCH64
	// x32Bit is 0: there is no second interface under this architecture's name.
	x32Bit = 0
)
