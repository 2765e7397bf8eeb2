package native

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"berth/runtime"
	"berth/runtime/keeper/client"
)

// RemoveContainer implements runtime.Containers.
func (r *Runtime) RemoveContainer(ctx context.Context, uid, name string, attempt uint32) error {
	p := r.pod(uid)
	if p == nil {
		return nil
	}
	p.op.Lock()
	defer p.op.Unlock()
	r.mu.Lock()
	c := p.find(name, attempt)
	r.mu.Unlock()
	if c == nil {
		return nil
	}
	if c.State != runtime.Exited {
		return fmt.Errorf("cannot remove container %q of pod %s: it has not ended", name, uid)
	}
	if err := r.forget(ctx, p, c); err != nil {
		return fmt.Errorf("cannot remove container %q of pod %s: %w", name, uid, err)
	}
	r.events.tell(uid)
	return nil
}

// forget removes an ended attempt: first what it has on the machine, last its record. p.op is held.
func (r *Runtime) forget(ctx context.Context, p *pod, c *container) error {
	err := r.whileBusy(ctx, func() error {
		// A start that its controller did not live to see may still be under way in the keeper: it ends with its group.
		if c.State == runtime.Created {
			if err := r.cgroups.Group(p.uid, c.Config.Name).Kill(); err != nil {
				return err
			}
		}
		return r.client().Forget(ctx, c.keeperID(p.uid))
	})
	if err == nil && r.ownsGroup(p, c) {
		err = r.cgroups.Group(p.uid, c.Config.Name).Remove(ctx)
	}
	if err == nil {
		err = removeTree(r.dirs.container(p.uid, c.at()))
	}
	if err == nil {
		err = r.pruneLogs(p, c)
	}
	if err == nil {
		err = r.removeRecords(p.uid, c.at())
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	p.drop(c)
	r.mu.Unlock()
	return nil
}

// ownsGroup tells whether the group of the container's name is this attempt's: a later one has replaced it.
func (r *Runtime) ownsGroup(p *pod, c *container) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.newest(c.Config.Name) == c
}

func (r *Runtime) removeRecords(uid, at string) error {
	var errs []error
	for _, f := range []string{r.dirs.fifo(uid, at, "in"), r.dirs.fifo(uid, at, "out"), r.dirs.fifo(uid, at, "err"), r.dirs.exit(uid, at), r.dirs.record(uid, at) + tempSuffix, r.dirs.record(uid, at)} {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// RemoveSandbox implements runtime.Pods.
func (r *Runtime) RemoveSandbox(ctx context.Context, uid string) error {
	return r.changeSandbox("remove", uid, func(p *pod) error { return r.remove(ctx, p) })
}

// remove takes down all of a pod but its logs. The record goes last, so that whatever stops it half-way is taken up again. p.op is held.
func (r *Runtime) remove(ctx context.Context, p *pod) error {
	r.mu.Lock()
	p.removing = true
	running := p.running()
	containers := slices.Clone(p.containers)
	volumes := p.Config.Volumes
	shared := p.Config.ShareMemory
	r.mu.Unlock()
	r.nameNetNS(p)
	if err := r.cgroups.KillPod(p.uid); err != nil {
		return err
	}
	if err := r.awaitEnds(ctx, running); err != nil {
		return err
	}
	for _, c := range containers {
		err := r.whileBusy(ctx, func() error {
			return cmp.Or(r.cgroups.KillPod(p.uid), r.client().Forget(ctx, c.keeperID(p.uid)))
		})
		if err != nil {
			return err
		}
	}
	if err := r.dropNamespaces(ctx, p); err != nil {
		return err
	}
	if err := r.unmountMemory(ctx, p.uid, volumes, shared); err != nil {
		return err
	}
	if err := r.cgroups.RemovePod(ctx, p.uid); err != nil {
		return err
	}
	return r.erase(p.uid)
}

// awaitEnds waits until the first processes of containers are gone. When the keeper dies meanwhile nobody will tell: then it is the groups'
// becoming empty that counts, which their removal waits for.
func (r *Runtime) awaitEnds(ctx context.Context, list []*container) error {
	keeper := r.client()
	for _, c := range list {
		select {
		case <-c.done:
		case <-keeper.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *Runtime) unmountMemory(ctx context.Context, uid string, volumes []runtime.Volume, shared bool) error {
	var paths []string
	for _, v := range volumes {
		if v.EmptyDir != nil && v.EmptyDir.Memory {
			paths = append(paths, r.memoryPath(uid, v.Name))
		}
	}
	if shared {
		paths = append(paths, r.dirs.shm(uid))
	}
	for _, p := range paths {
		if err := unlessGone(r.client().Unmount(ctx, p)); err != nil {
			return err
		}
	}
	return nil
}

// busyPause is how often the keeper is asked again about something it is just making: that takes it a few milliseconds.
const busyPause = 2 * time.Millisecond

// whileBusy asks the keeper again as long as it is busy with what it is asked to forget. What is gone already is not an error.
func (r *Runtime) whileBusy(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, client.ErrBusy) {
			return unlessGone(err)
		}
		pause := time.NewTimer(busyPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(err, ctx.Err())
		}
	}
}

// unlessGone drops the errors that mean there is nothing left to undo: unknown to the keeper, or the keeper died and all it held with it.
func unlessGone(err error) error {
	if errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrKeeperGone) {
		return nil
	}
	return err
}

// erase removes the directories of a pod, gives back its address and ids, and drops it.
func (r *Runtime) erase(uid string) error {
	for _, dir := range []string{r.dirs.podLayers(uid), r.dirs.statePod(uid), r.dirs.runPod(uid)} {
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	if err := r.pruneOldLogs(); err != nil {
		return err
	}
	if r.opts.Network != nil {
		r.opts.Network.Release(uid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.releaseIDs(uid)
	delete(r.pods, uid)
	delete(r.making, uid)
	return nil
}
