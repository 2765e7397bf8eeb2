package native

import (
	"context"
	"errors"
	"fmt"
	"time"

	"berth/runtime"
	"berth/runtime/keeper/client"
)

// connect starts a keeper when none serves, and listens to it.
func (r *Runtime) connect(ctx context.Context) (*client.Client, error) {
	err := client.Spawn(ctx, r.opts.Binary, r.dirs.run, client.SpawnOptions{CgroupFiles: r.cgroups.KeeperFiles()})
	if err != nil {
		return nil, fmt.Errorf("cannot start the keeper: %w", err)
	}
	k, err := client.Dial(ctx, r.dirs.run)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the keeper: %w", err)
	}
	if k, err = r.upgrade(ctx, k); err != nil {
		return nil, err
	}
	if err := k.Subscribe(ctx, r.ended); err != nil {
		_ = k.Close()
		return nil, fmt.Errorf("cannot listen to the keeper: %w", err)
	}
	return k, nil
}

// upgrade puts this build in the place of a keeper of another one. One that cannot take over leaves the old keeper at work.
func (r *Runtime) upgrade(ctx context.Context, k *client.Client) (*client.Client, error) {
	if !r.opts.Upgrade {
		return k, nil
	}
	build, err := client.BuildOf(r.opts.Binary)
	if err != nil {
		r.opts.Report(fmt.Errorf("cannot upgrade the keeper, the old one goes on: %w", err))
		return k, nil
	}
	if build == k.Info().Build {
		return k, nil
	}
	if err := k.Upgrade(ctx, r.opts.Binary); err != nil {
		r.opts.Report(fmt.Errorf("cannot upgrade the keeper, the old one goes on: %w", err))
	}
	_ = k.Close() // its other end is gone, or soon replaced
	if k, err = client.Dial(ctx, r.dirs.run); err != nil {
		return nil, fmt.Errorf("cannot reach the keeper: %w", err)
	}
	return k, nil
}

// reconnectPause is how long a keeper that does not come up is left alone: long enough not to burn a core, short enough to be no outage.
const reconnectPause = time.Second

// watchKeeper replaces a keeper that has died, until ctx is done. Containers do not notice.
func (r *Runtime) watchKeeper(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.client().Done():
		}
		if ctx.Err() != nil {
			return
		}
		if err := r.reconnect(ctx); err != nil && ctx.Err() == nil {
			r.opts.Report(err)
			pause := time.NewTimer(reconnectPause)
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
		}
	}
}

// reconnect gets another keeper and gives it all pods. Nothing is asked of it about a pod before that pod is taken back.
func (r *Runtime) reconnect(ctx context.Context) error {
	k, err := r.connect(ctx)
	if err != nil {
		return err
	}
	pods := r.lockAll()
	r.mu.Lock()
	r.keeper = k
	r.mu.Unlock()
	held, err := r.look(ctx)
	errs := []error{err}
	for _, p := range pods {
		r.mu.Lock()
		current := r.pods[p.uid] == p && !p.removing
		r.mu.Unlock()
		if current && err == nil {
			errs = append(errs, r.takeBack(ctx, p, held))
		}
		p.op.Unlock()
		r.events.tell(p.uid)
	}
	return errors.Join(errs...)
}

// lockAll takes every pod out of the hands of whoever acts on it. That does not take long: the keeper they count on is dead.
func (r *Runtime) lockAll() []*pod {
	r.mu.Lock()
	pods := make([]*pod, 0, len(r.pods))
	for _, p := range r.pods {
		pods = append(pods, p)
	}
	r.mu.Unlock()
	for _, p := range pods {
		p.op.Lock()
	}
	return pods
}

// settle waits until nobody acts on a pod any more: until it is taken back, for instance.
func (r *Runtime) settle(uid string) {
	if p := r.pod(uid); p != nil {
		p.op.Lock()
		defer p.op.Unlock()
	}
}

// holding is what a keeper holds, by id.
type holding struct {
	containers map[string]client.Container
	sandboxes  map[string]bool
}

func (r *Runtime) look(ctx context.Context) (holding, error) {
	state, err := r.client().List(ctx)
	if err != nil {
		return holding{}, fmt.Errorf("cannot look at the keeper: %w", err)
	}
	held := holding{containers: make(map[string]client.Container, len(state.Containers)), sandboxes: make(map[string]bool, len(state.Sandboxes))}
	for _, c := range state.Containers {
		held.containers[c.ID] = c
	}
	for _, s := range state.Sandboxes {
		held.sandboxes[s.ID] = true
	}
	return held, nil
}

// takeBack brings one recorded pod and what the keeper holds of it together. p.op is held, and since held was looked up nobody has acted on
// the pod.
func (r *Runtime) takeBack(ctx context.Context, p *pod, held holding) error {
	r.mu.Lock()
	containers := append([]*container{}, p.containers...)
	r.mu.Unlock()
	var errs []error
	undone := false
	for _, c := range containers {
		if c.State == runtime.Exited {
			continue
		}
		undone = undone || c.State == runtime.Created
		k, ok := held.containers[c.keeperID(p.uid)]
		if !ok && c.State == runtime.Created { // the keeper may have been at it for a controller that is no more
			now, err := r.look(ctx)
			errs = append(errs, err)
			k, ok = now.containers[c.keeperID(p.uid)]
		}
		errs = append(errs, r.takeBackContainer(ctx, p, c, k, ok))
	}
	if undone { // and the namespaces with it, if it was to bring them along
		now, err := r.look(ctx)
		errs = append(errs, err)
		held.sandboxes = now.sandboxes
	}
	return errors.Join(append(errs, r.takeBackSandbox(ctx, p, held))...)
}

// takeBackContainer decides what has become of a container that was started, or about to be.
func (r *Runtime) takeBackContainer(ctx context.Context, p *pod, c *container, k client.Container, held bool) error {
	if held {
		if err := r.confirm(p, c, k); err != nil || !k.Ended {
			return err
		}
		return r.recordEnd(p, c, k.Exit)
	}
	if exit, err := client.ReadExit(r.dirs.exit(p.uid, c.at())); err == nil {
		return r.recordEnd(p, c, exit.ExitStatus)
	}
	if c.State == runtime.Created {
		// Recorded, never confirmed, unknown to the keeper: whatever there is of it is half-made.
		return r.undoHalf(ctx, p, c)
	}
	if r.lives(p.uid, c.containerRecord) {
		err := r.client().Adopt(ctx, client.AdoptRequest{
			ID: c.keeperID(p.uid), PID: c.PID, StartTicks: c.StartTicks, StartedAt: c.StartedAt,
			Sandbox: sandboxID(p), SandboxFlags: sandboxFlags(p.Config), SandboxPID: p.InitPID, SandboxTicks: p.InitTicks,
			Log: r.log(p.uid, p.sandboxRecord, c), ExitPath: r.dirs.exit(p.uid, c.at()),
		})
		if err == nil || !errors.Is(err, client.ErrNotFound) {
			return err
		}
	}
	return r.recordEnd(p, c, client.ExitStatus{})
}

// confirm completes the record of a container that a controller has started and not lived to confirm.
func (r *Runtime) confirm(p *pod, c *container, k client.Container) error {
	r.mu.Lock()
	confirmed := c.State == runtime.Running
	c.State, c.PID, c.StartTicks, c.StartedAt = runtime.Running, k.PID, k.StartTicks, k.StartedAt
	rec := c.containerRecord
	r.mu.Unlock()
	if confirmed {
		return nil
	}
	return writeRecord(r.dirs.record(p.uid, c.at()), rec)
}

func (r *Runtime) undoHalf(ctx context.Context, p *pod, c *container) error {
	if err := r.cgroups.Group(p.uid, c.Config.Name).Kill(); err != nil {
		return err
	}
	return r.forget(ctx, p, c)
}

// sandboxID is the pod's sandbox as the keeper knows it; "" when the pod has no namespaces of its own.
func sandboxID(p *pod) string {
	if sandboxFlags(p.Config) == 0 {
		return ""
	}
	return p.uid
}

// takeBackSandbox looks whether the pod's namespaces are still held, now that its containers are taken back.
func (r *Runtime) takeBackSandbox(ctx context.Context, p *pod, held holding) error {
	alive := sandboxID(p) == "" || held.sandboxes[p.uid]
	if !alive { // adopting a container brings its sandbox along
		now, err := r.look(ctx)
		if err != nil {
			return err
		}
		alive = now.sandboxes[p.uid]
	}
	r.mu.Lock()
	p.born = alive && sandboxID(p) != ""
	// Where no container has run it makes no difference whether there were namespaces: they come with the first one.
	alive = alive || comesWithContainer(p.Config) && !p.lived()
	p.alive = alive
	ready, cfg, base := p.Ready, p.Config, p.IDBase
	r.mu.Unlock()
	if !alive || !ready {
		return nil
	}
	return r.remountMemory(ctx, cfg, base)
}
