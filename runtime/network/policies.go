package network

import (
	"context"

	"berth/runtime"
)

var _ runtime.Judge = (*Network)(nil)

// SetPolicies implements runtime.Judge. Until the first call what an earlier run has set holds.
func (n *Network) SetPolicies(ctx context.Context, p runtime.Policies) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return n.filter.SetPolicies(p)
}
