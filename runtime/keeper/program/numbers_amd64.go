package program

// Not in package syscall.
const (
	sysExecveat = 322
	sysClone3   = 435
	sigSetmask  = 2
)
