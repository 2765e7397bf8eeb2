package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"berth/runtime/network"
)

// Down drains and removes every pod, ends the keeper and takes away whatever carries this instance's name: cgroups, bridge, table,
// directories. Images stay; so do the data of claims and the certificates that were issued, unless volumes is set. It may be interrupted and
// repeated. It takes the place of Run.
func (d *Daemon) Down(ctx context.Context, volumes bool, podsLeft func(int)) error {
	if err := d.drain(ctx, podsLeft); err != nil {
		return err
	}
	err := d.Runtime.Shutdown(ctx)
	d.Runtime = nil
	if err != nil {
		return fmt.Errorf("cannot end the keeper and its groups: %w", err)
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
		gone = append(gone, "volumes", certificatesDir)
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
