package client

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors that callers branch on.
var (
	// ErrNoKeeper means that no keeper serves the run directory.
	ErrNoKeeper = errors.New("no keeper serves this run directory")
	// ErrKeeperGone means that the connection ended before the answer came. What was asked for may have happened.
	ErrKeeperGone = errors.New("the keeper is gone")
	// ErrNotFound means that the keeper has no such container, sandbox or process.
	ErrNotFound = errors.New("not found")
	// ErrExists means that the id is in use.
	ErrExists = errors.New("exists already")
	// ErrBusy means that something still runs.
	ErrBusy = errors.New("still running")
)

// StepError says at which step of its program a child failed, died or hung.
type StepError struct {
	// Step is the index in the program; -1 when it was one of the keeper's own steps around it.
	Step int
	// Name is what the step does: "mount /proc".
	Name string
	// Errno is why the step failed; 0 when the child died or hung there.
	Errno syscall.Errno
	// Signal is what killed the child at this step; 0 when it failed or hung.
	Signal syscall.Signal
	// TimedOut means that the step had not ended in time, and the child was killed.
	TimedOut bool
}

// Error implements error.
func (e *StepError) Error() string {
	switch {
	case e.TimedOut:
		return fmt.Sprintf("cannot %s: not done in time", e.Name)
	case e.Signal != 0:
		return fmt.Sprintf("cannot %s: killed by signal %d (%v)", e.Name, int(e.Signal), e.Signal)
	case e.Errno != 0:
		return fmt.Sprintf("cannot %s: %v", e.Name, e.Errno)
	}
	return fmt.Sprintf("cannot %s: the child ended", e.Name)
}

// Unwrap returns the errno.
func (e *StepError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// AttachError says that a start ended because its Attach failed: not a container's fault.
type AttachError struct{ Err error }

// Error implements error.
func (e *AttachError) Error() string { return e.Err.Error() }

// Unwrap returns what Attach has returned.
func (e *AttachError) Unwrap() error { return e.Err }
