package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/daemon"
)

// downPatience bounds a whole `down`: pods get their own grace, which a manifest may make longer than this on purpose.
const downPatience = 30 * time.Minute

func (a *app) down() *cobra.Command {
	var volumes bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop berth, drain and remove everything",
		Long: `Stop the running berth, end every pod (gracefully, as its manifest says), and return when every process, mount, link, table and
cgroup of this instance is gone. Images stay. Nothing running is not an error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDown(cmd.Context(), volumes) },
	}
	cmd.Flags().BoolVar(&volumes, "volumes", false, "delete the data of claims too, and the certificates that were issued")
	return cmd
}

func (a *app) runDown(ctx context.Context, volumes bool) error {
	if !daemon.Known(a.stateDir, a.runDir) {
		fmt.Fprintf(a.out, "nothing runs here: %s is not in use\n", a.stateDir)
		return nil
	}
	if err := needRoot("down"); err != nil {
		return err
	}
	lock, err := daemon.StopRunning(ctx, a.stateDir)
	if err != nil {
		return err
	}
	opts, err := a.daemonOptions(upOptions{registries: defaultRegistries})
	if err != nil {
		lock.Release()
		return err
	}
	opts.Log = lineLog(a.err)
	d, err := daemon.Open(ctx, lock, opts)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Down(ctx, volumes, func(left int) { fmt.Fprintf(a.out, "%s left\n", counted(left, "pod")) }); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "everything is gone; images stay (berth image prune)")
	return nil
}
