package native

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"berth/runtime"
	"berth/runtime/keeper/client"
)

// adopt takes back what an earlier controller has left, and removes the traces of a crash: what has no record, and records of what
// never came to be. Only names of this instance are ever looked at.
func (r *Runtime) adopt(ctx context.Context) error {
	broken, err := r.loadRecords()
	if err != nil {
		return err
	}
	orphans, err := r.loadOrphans(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, uid := range append(broken, orphans...) {
		if p := r.pod(uid); p != nil {
			errs = append(errs, r.remove(ctx, p))
		}
	}
	list, err := r.List(ctx)
	errs = append(errs, err)
	held, err := r.look(ctx)
	if err != nil {
		return err
	}
	for _, st := range list {
		errs = append(errs, r.adoptPod(ctx, r.pod(st.UID), held))
	}
	if r.opts.Network != nil {
		errs = append(errs, r.opts.Network.Rejoin(ctx))
	}
	errs = append(errs, r.sweepGroups(ctx), r.sweepDirs(ctx), r.dirs.disks().Sweep())
	// What could not be swept now is found again next time: it must not keep the pods from being looked after.
	if err := errors.Join(errs...); err != nil {
		r.opts.Report(fmt.Errorf("cannot clean up after an earlier run: %w", err))
	}
	return nil
}

// loadRecords makes every recorded pod known. Pods whose own record cannot be read come back by name, as empty pods to be removed.
func (r *Runtime) loadRecords() (broken []string, err error) {
	uids, err := recordedPods(r.dirs.runPods())
	if err != nil {
		return nil, fmt.Errorf("cannot read records: %w", err)
	}
	for _, uid := range uids {
		p, damaged, err := readPod(r.dirs, uid)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) { // without a record it was being made, or removed
				r.opts.Report(err)
			}
			p = newPod(uid)
			broken = append(broken, uid)
		}
		for _, at := range damaged {
			r.opts.Report(fmt.Errorf("cannot read record %s of pod %s: dropping it", at, uid))
		}
		r.mu.Lock()
		r.pods[uid] = p
		if p.IDBase != 0 {
			r.ids[p.IDBase] = uid
		}
		r.mu.Unlock()
	}
	return broken, nil
}

// loadOrphans makes known, as pods to be removed, what the keeper holds without a record; and drops single containers of that kind.
func (r *Runtime) loadOrphans(ctx context.Context) ([]string, error) {
	state, err := r.client().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot look at the keeper: %w", err)
	}
	var orphans []string
	known := func(uid string) *pod {
		r.mu.Lock()
		defer r.mu.Unlock()
		p := r.pods[uid]
		if p == nil {
			p = newPod(uid)
			r.pods[uid] = p
			orphans = append(orphans, uid)
		}
		return p
	}
	for _, s := range state.Sandboxes {
		if checkUID(s.ID) == nil {
			known(s.ID)
		}
	}
	for _, k := range state.Containers {
		uid, name, attempt, ok := parseKeeperID(k.ID)
		if !ok || checkUID(uid) != nil || checkName("container", name) != nil {
			continue
		}
		p := known(uid)
		r.mu.Lock()
		if p.find(name, attempt) == nil {
			p.add(orphan(name, attempt, k))
		}
		r.mu.Unlock()
	}
	return orphans, r.noteEnds(ctx)
}

// orphan is a container that the keeper holds and nobody has recorded.
func orphan(name string, attempt uint32, k client.Container) *container {
	c := newContainer()
	c.Config.Name, c.Config.Attempt = name, attempt
	c.State, c.PID, c.StartTicks = runtime.Running, k.PID, k.StartTicks
	c.orphan = true
	return c
}

// noteEnds closes done of what has ended by now: an end that came before a container was known would never be waited out.
func (r *Runtime) noteEnds(ctx context.Context) error {
	state, err := r.client().List(ctx)
	if err != nil {
		return fmt.Errorf("cannot look at the keeper: %w", err)
	}
	for _, k := range state.Containers {
		if k.Ended {
			r.ended(client.Exit{ID: k.ID, PID: k.PID, ExitStatus: k.Exit})
		}
	}
	return nil
}

// adoptPod takes one recorded pod back.
func (r *Runtime) adoptPod(ctx context.Context, p *pod, held holding) error {
	p.op.Lock()
	defer p.op.Unlock()
	if err := r.dropOrphans(ctx, p); err != nil {
		return err
	}
	if err := r.takeBack(ctx, p, held); err != nil {
		return err
	}
	if !p.Ready && len(p.containers) == 0 {
		return r.remove(ctx, p)
	}
	if p.Stopped {
		return r.giveBack(ctx, p)
	}
	if !p.Ready {
		return r.dropNamespaces(ctx, p)
	}
	if r.opts.Network == nil || p.IP == "" {
		return nil
	}
	addr, err := parseAddr(p.IP)
	if err != nil {
		return err
	}
	if p.Address6 != r.opts.Network.Address6(addr) { // it has been switched off, or moved: to the pod it is lost
		r.mu.Lock()
		p.Address6 = netip.Addr{}
		r.mu.Unlock()
	}
	return r.opts.Network.Reserve(p.uid, addr)
}

// dropOrphans ends the containers of a recorded pod that have no record of their own.
func (r *Runtime) dropOrphans(ctx context.Context, p *pod) error {
	r.mu.Lock()
	containers := append([]*container{}, p.containers...)
	r.mu.Unlock()
	for _, c := range containers {
		if !c.orphan {
			continue
		}
		if err := r.cgroups.Group(p.uid, c.Config.Name).Kill(); err != nil {
			return err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.forget(ctx, p, c); err != nil {
			return err
		}
	}
	return nil
}

// sweepGroups removes the groups that belong to nothing known.
func (r *Runtime) sweepGroups(ctx context.Context) error {
	groups, err := r.cgroups.List()
	if err != nil {
		return fmt.Errorf("cannot list cgroups: %w", err)
	}
	var errs []error
	for uid, names := range groups {
		p := r.pod(uid)
		if p == nil {
			errs = append(errs, r.cgroups.KillPod(uid), r.cgroups.RemovePod(ctx, uid))
			continue
		}
		for _, name := range names {
			r.mu.Lock()
			known := p.newest(name) != nil
			r.mu.Unlock()
			if !known {
				g := r.cgroups.Group(uid, name)
				errs = append(errs, g.Kill(), g.Remove(ctx))
			}
		}
	}
	return errors.Join(errs...)
}

// sweepDirs removes the directories that belong to nothing known.
func (r *Runtime) sweepDirs(ctx context.Context) error {
	var errs []error
	for _, dir := range []string{r.dirs.runPods(), r.dirs.statePods(), r.dirs.containers()} {
		errs = append(errs, sweepEntries(dir, func(name string) bool { return r.pod(name) != nil }))
	}
	list, _ := r.List(ctx)
	for _, st := range list {
		attempts := map[string]bool{}
		for _, c := range st.Containers {
			attempts[attemptName(c.Name, c.Attempt)] = true
		}
		errs = append(errs, sweepEntries(r.dirs.podLayers(st.UID), func(name string) bool { return attempts[name] }))
		errs = append(errs, sweepEntries(r.dirs.runPod(st.UID), func(name string) bool { return keepRunFile(name, attempts) }))
	}
	return errors.Join(errs...)
}

// keepRunFile tells which entries of a pod's run directory have a meaning.
func keepRunFile(name string, attempts map[string]bool) bool {
	if name == sandboxFile || name == "files" || name == memorySuffix || name == "shm" {
		return true
	}
	for _, suffix := range []string{recordSuffix, exitSuffix, exitSuffix + ".tmp", ".out", ".err"} {
		if at, ok := strings.CutSuffix(name, suffix); ok {
			return attempts[at]
		}
	}
	return false
}

func sweepEntries(dir string, keep func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !keep(e.Name()) {
			errs = append(errs, removeTree(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
