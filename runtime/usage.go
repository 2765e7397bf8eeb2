package runtime

import (
	"context"
	"time"
)

// Meter tells what pods use of the machine.
type Meter interface {
	// Usage returns what the running containers of a pod use, by name. A pod that the machine does not have is ErrNotFound.
	Usage(ctx context.Context, uid string) (map[string]Usage, error)
	// DiskUsage measures what a pod has written to the disk. It reads every directory of it, takes its time, and stops when ctx ends. A pod that the
	// machine does not have is ErrNotFound.
	DiskUsage(ctx context.Context, uid string) (DiskUsage, error)
}

// DiskUsage is what a pod holds of the disk, in bytes, as du counts them: whole blocks, sparse files by what is in them, hard links once. What is deleted and
// still open is not in it, nor what outlives the pod.
type DiskUsage struct {
	// Containers are the writable layers of the newest attempts and the logs, by name; Volumes the emptyDirs on disk.
	Containers, Volumes map[string]int64
	// Other is what berth itself keeps for the pod.
	Other int64
}

// Total is all of it.
func (u DiskUsage) Total() int64 {
	total := u.Other
	for _, list := range []map[string]int64{u.Containers, u.Volumes} {
		for _, n := range list {
			total += n
		}
	}
	return total
}

// Usage is what one container uses.
type Usage struct {
	// CPU is the time of processors since it started.
	CPU time.Duration
	// Memory is in bytes, without what could be dropped at once.
	Memory int64
}
