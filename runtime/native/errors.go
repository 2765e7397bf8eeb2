package native

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"berth/runtime"
	"berth/runtime/keeper/client"
)

// configError says that the wish itself cannot be met. The text goes on after "cannot".
func configError(format string, args ...any) error {
	step, cause, ok := strings.Cut(fmt.Sprintf(format, args...), ": ")
	if !ok {
		cause = "it is not valid"
	}
	return &runtime.StartError{Reason: runtime.ReasonConfigError, Step: step, Err: errors.New(cause)}
}

// createError says that what a container needs could not be made.
func createError(step string, err error) error {
	return &runtime.StartError{Reason: runtime.ReasonCreateError, Step: step, Err: err}
}

// startError translates the failure of a program's step. A step that executes the container's own program is the container's fault.
func startError(err error) error {
	var step *client.StepError
	if !errors.As(err, &step) {
		return err
	}
	reason := runtime.ReasonStartError
	if strings.HasPrefix(step.Name, execStep) || strings.HasPrefix(step.Name, findStep) {
		reason = runtime.ReasonCannotRun
	}
	return &runtime.StartError{Reason: reason, Step: step.Name, Err: stepCause(step)}
}

func stepCause(step *client.StepError) error {
	switch {
	case step.TimedOut:
		return errors.New("not done in time")
	case step.Signal != 0:
		return fmt.Errorf("killed by signal %d (%v)", int(step.Signal), step.Signal)
	case step.Errno == syscall.ENOENT && strings.HasPrefix(step.Name, findStep):
		return errors.New("no such program in PATH")
	case step.Errno == syscall.EINVAL && strings.HasPrefix(step.Name, stepIDMap):
		return fmt.Errorf("the kernel (older than 5.19) or the file system cannot: %w", runtime.ErrNotSupported)
	case step.Errno != 0:
		return step.Errno
	}
	return errors.New("the process ended")
}

func notFound(format string, args ...any) error {
	return fmt.Errorf("cannot find "+format+": %w", append(args, runtime.ErrNotFound)...)
}

func osFileMode(m uint32) fs.FileMode { return fs.FileMode(m) & fs.ModePerm }
