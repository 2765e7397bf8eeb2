package runtimetest

import (
	"context"

	"berth/runtime"
)

var _ runtime.Judge = (*Fake)(nil)

// SetPolicies implements runtime.Judge: Policies tells what holds.
func (f *Fake) SetPolicies(ctx context.Context, p runtime.Policies) error {
	after, err := f.enter(ctx, true)
	if err != nil {
		return err
	}
	f.machine.mu.Lock()
	hook := f.onPolicies
	f.machine.mu.Unlock()
	if hook != nil {
		if err := hook(p); err != nil {
			return err
		}
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.policies = p
	return after
}

// Policies are those that were set last. They must not be changed.
func (f *Fake) Policies() runtime.Policies {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	return f.policies
}

// OnPolicies is asked before policies are taken; an error leaves the old ones.
func (f *Fake) OnPolicies(hook func(p runtime.Policies) error) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.onPolicies = hook
}
