package native

import (
	"context"

	"berth/runtime"
)

var _ runtime.Meter = (*Runtime)(nil)

// Usage asks the groups of the running containers.
func (r *Runtime) Usage(ctx context.Context, uid string) (map[string]runtime.Usage, error) {
	status, err := r.Status(ctx, uid)
	if err != nil {
		return nil, err
	}
	out := map[string]runtime.Usage{}
	for i := range status.Containers {
		c := &status.Containers[i]
		if c.State != runtime.Running {
			continue
		}
		if out[c.Name], err = r.cgroups.Group(uid, c.Name).Usage(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
