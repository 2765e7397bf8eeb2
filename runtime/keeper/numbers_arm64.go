package keeper

// System calls that package syscall does not know.
const (
	sysSetns           = 268
	sysMemfdCreate     = 279
	sysExecveat        = 281
	sysPidfdSendSignal = 424
	sysOpenTree        = 428
	sysPidfdOpen       = 434
	sysCloseRange      = 436
	sysOpenat2         = 437
	sysPidfdGetfd      = 438
	sysMountSetattr    = 442
	sysPrlimit         = 261
)
