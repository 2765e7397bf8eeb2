package native

import (
	"context"
	"fmt"

	"berth/runtime"
)

// StopSandbox implements runtime.Pods.
func (r *Runtime) StopSandbox(ctx context.Context, uid string) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	p := r.pod(uid)
	if p == nil {
		return nil
	}
	p.op.Lock()
	defer p.op.Unlock()
	r.mu.Lock()
	err, stands := p.busy(), p.sandboxStatus().Ready && !p.removing
	rec := p.sandboxRecord
	r.mu.Unlock()
	if err == nil && stands {
		// Written before the first effect: the next controller finishes what this one does not live to do.
		rec.Stopped = true
		if err = r.record(p, rec); err == nil {
			err = r.giveBack(ctx, p)
		}
		r.events.tell(uid)
	}
	if err != nil {
		return fmt.Errorf("cannot stop sandbox %s: %w", uid, err)
	}
	return nil
}

// busy says which container has not ended. Runtime.mu is held.
func (p *pod) busy() error {
	for _, c := range p.containers {
		if c.State != runtime.Exited {
			return fmt.Errorf("container %q has not ended", c.Config.Name)
		}
	}
	return nil
}

// giveBack returns what a stopped sandbox has of the machine. It may be called again after it has failed. p.op is held.
func (r *Runtime) giveBack(ctx context.Context, p *pod) error {
	err := r.whileBusy(ctx, func() error { return r.client().ForgetSandbox(ctx, p.uid) })
	if err == nil {
		err = r.unmountMemory(ctx, p.uid, p.Config.Volumes, p.Config.ShareMemory)
	}
	if err == nil {
		err = r.cgroups.RemovePod(ctx, p.uid)
	}
	if err != nil {
		return err
	}
	if r.opts.Network != nil {
		r.opts.Network.Release(p.uid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.alive, p.born = false, false
	return nil
}
