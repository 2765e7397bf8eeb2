package native

import (
	"context"
	"errors"
	"fmt"

	"berth/runtime"
)

// StopSandbox implements runtime.Pods.
func (r *Runtime) StopSandbox(ctx context.Context, uid string, empty bool) error {
	return r.changeSandbox("stop", uid, func(p *pod) error {
		r.mu.Lock()
		err, stands := p.busy(), p.sandboxStatus().Ready && !p.removing
		rec := p.sandboxRecord
		r.mu.Unlock()
		if err != nil || !stands {
			return err
		}
		// Written before the first effect: the next controller finishes what this one does not live to do.
		rec.Stopped, rec.Emptied = true, empty
		if err := r.record(p, rec); err != nil {
			return err
		}
		return r.giveBack(ctx, p)
	})
}

// changeSandbox changes the sandbox of a pod while nobody else does, and tells of it. One that is not there needs no change.
func (r *Runtime) changeSandbox(verb, uid string, change func(*pod) error) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	p := r.pod(uid)
	if p == nil {
		return nil
	}
	p.op.Lock()
	defer p.op.Unlock()
	if err := change(p); err != nil {
		return fmt.Errorf("cannot %s sandbox %s: %w", verb, uid, err)
	}
	r.events.tell(uid)
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
	if err == nil && p.Emptied {
		err = errors.Join(removeTree(r.dirs.podLayers(p.uid)), removeTree(r.dirs.volumes(p.uid)))
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
