package program

// Not in package syscall.
const (
	sysExecveat = 281
	sysClone3   = 435
	sigSetmask  = 2
)
