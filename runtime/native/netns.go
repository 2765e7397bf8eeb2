package native

import (
	"context"
	"fmt"
	"os"

	"berth/runtime"
)

// NetNS returns the network namespace of a pod; the caller closes it. A pod on the machine's own network has none.
func (r *Runtime) NetNS(ctx context.Context, uid string) (*os.File, error) {
	p := r.pod(uid)
	if p == nil {
		return nil, notFound("pod %s", uid)
	}
	if p.Config.HostNetwork {
		return nil, fmt.Errorf("cannot enter the network of the pod: it is the machine's own: %w", runtime.ErrNotSupported)
	}
	netns, err := r.client().SandboxNetNS(ctx, uid)
	if err != nil {
		return nil, fmt.Errorf("cannot get the network namespace of the pod: %w", err)
	}
	return netns, nil
}
