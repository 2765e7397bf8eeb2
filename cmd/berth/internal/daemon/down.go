package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"berth/runtime/cgroup"
	"berth/runtime/keeper/client"
	"berth/runtime/network"
)

// Down drains and removes every pod, ends the keeper and takes away whatever carries this instance's name: cgroups, bridge, table,
// directories. Images stay; so do the data of claims, unless volumes is set. It may be interrupted and repeated. It takes the place of Run.
func (d *Daemon) Down(ctx context.Context, volumes bool, podsLeft func(int)) error {
	if err := d.drain(ctx, podsLeft); err != nil {
		return err
	}
	_ = d.Runtime.Close() // the connection may be gone already
	d.Runtime = nil
	if err := endKeeper(ctx, d.opts.RunDir); err != nil {
		return err
	}
	if err := removeTree(ctx, d.id); err != nil {
		return err
	}
	if err := d.network.Close(); err != nil {
		return fmt.Errorf("cannot let go of the network: %w", err)
	}
	d.network = nil
	if err := network.Remove(ctx, d.networkConfig()); err != nil {
		return fmt.Errorf("cannot remove the pod network: %w", err)
	}
	gone := []string{"containers", "pods", "logs", "objects", "skeleton"}
	if volumes {
		gone = append(gone, "volumes")
	}
	for _, name := range gone {
		if err := os.RemoveAll(filepath.Join(d.opts.StateDir, name)); err != nil {
			return fmt.Errorf("cannot remove what is left of the pods: %w", err)
		}
	}
	return emptyDir(d.opts.RunDir)
}

// drain runs the controller until the machine has no pod any more.
func (d *Daemon) drain(ctx context.Context, podsLeft func(int)) error {
	ctx, cancel := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- d.Controller.Run(ctx) }()
	err := d.Controller.Down(ctx, podsLeft)
	cancel()
	return errors.Join(err, <-ran)
}

// endKeeper ends the keeper, and waits until it is gone. No keeper is not an error.
func endKeeper(ctx context.Context, runDir string) error {
	c, err := client.Dial(ctx, runDir)
	if errors.Is(err, client.ErrNoKeeper) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot reach the keeper: %w", err)
	}
	defer func() { _ = c.Close() }() // ErrClosed: the keeper has ended
	if err := c.Shutdown(ctx, true); err != nil && !errors.Is(err, client.ErrKeeperGone) {
		return fmt.Errorf("cannot end the keeper: %w", err)
	}
	select {
	case <-c.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot end the keeper: %w", ctx.Err())
	}
}

// removeTree takes the cgroups of an instance away.
func removeTree(ctx context.Context, id string) error {
	tree, err := cgroup.Open(id)
	if err != nil {
		return err
	}
	if err := tree.Remove(ctx); err != nil {
		return fmt.Errorf("cannot remove the cgroups: %w", err)
	}
	return nil
}

// emptyDir removes a directory and what is in it; one that cannot go itself (a mount point) is left empty.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot empty the run directory: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("cannot empty the run directory: %w", err)
		}
	}
	_ = os.Remove(dir) // a mount point or the administrator's own: empty is enough
	return nil
}
