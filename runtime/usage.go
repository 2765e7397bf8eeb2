package runtime

import (
	"context"
	"time"
)

// Meter tells what pods use of the machine.
type Meter interface {
	// Usage returns what the running containers of a pod use, by name. A pod that the machine does not have is ErrNotFound.
	Usage(ctx context.Context, uid string) (map[string]Usage, error)
}

// Usage is what one container uses.
type Usage struct {
	// CPU is the time of processors since it started.
	CPU time.Duration
	// Memory is in bytes, without what could be dropped at once.
	Memory int64
}
