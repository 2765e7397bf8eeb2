// Package earliest remembers the limit of open files that the process was started with. Package os raises it, and a container must not
// inherit that. It imports syscall alone, so it is initialised before package os.
package earliest

import "syscall"

var nofile syscall.Rlimit

func init() {
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &nofile) != nil {
		nofile = syscall.Rlimit{Cur: 1024, Max: 1024}
	}
}

// NoFile is the limit of open files at the start of the process.
func NoFile() syscall.Rlimit { return nofile }
