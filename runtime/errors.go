package runtime

import (
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	// ErrNotFound means that the machine has no such sandbox, container or image.
	ErrNotFound = errors.New("not found")
	// ErrNotSupported means that this kernel or machine cannot do it. The message names what is missing.
	ErrNotSupported = errors.New("not supported on this machine")
	// ErrSandboxGone means that a sandbox has lost its namespaces; RunSandbox makes a new one.
	ErrSandboxGone = errors.New("sandbox is gone")
	// ErrDiskFull means that less than the reserve of disk space is free.
	ErrDiskFull = errors.New("not enough free disk space")
	// ErrInUse means that a pod still has what is to be removed.
	ErrInUse = errors.New("in use")
	// ErrInvalidName means that no image can have such a name.
	ErrInvalidName = errors.New("not the name of an image")
	// ErrUnauthorized means that a registry refused the credentials, or wants some.
	ErrUnauthorized = errors.New("unauthorized")
)

// StartError says why a container could not be started. It is an outcome of the container, not a failure of the runtime.
type StartError struct {
	// Reason is one of the Reason constants.
	Reason string
	// Step is what was being done: "mount overlay", "execve /bin/app".
	Step string
	Err  error
}

// Error implements error.
func (e *StartError) Error() string { return fmt.Sprintf("cannot %s: %v", e.Step, e.Err) }

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }
