package image

import (
	"errors"
	"syscall"

	"berth/runtime"
)

// Errors that callers branch on, beside those of package runtime.
var (
	// ErrInUse means that a container runs from the image.
	ErrInUse = errors.New("image is in use")
	// ErrInvalid means that a reference, archive, manifest or configuration is not what it must be. Trying again does not help.
	ErrInvalid = errors.New("invalid")
)

// errVanished means that a layer was removed by another process while an image that needs it was being put together.
var errVanished = errors.New("a layer was removed meanwhile")

// classify gives the kernel's word for a full disk its name in the contract.
func classify(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &diskFull{err}
	}
	return err
}

type diskFull struct{ err error }

func (e *diskFull) Error() string   { return runtime.ErrDiskFull.Error() + ": " + e.err.Error() }
func (e *diskFull) Unwrap() []error { return []error{runtime.ErrDiskFull, e.err} }
