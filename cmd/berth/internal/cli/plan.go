package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"berth/controller"
	"berth/manifests"
	"berth/manifests/dir"
)

func (a *app) plan() *cobra.Command {
	var output string
	var allowPrune bool
	cmd := &cobra.Command{
		Use:   "plan [DIR]",
		Short: "Show what `berth up DIR` would do",
		Long: `Show what "berth up DIR" would do: what it would create, update and remove, with the fields that differ. Nothing is changed. The exit
code is 2 when something would change, 1 when a file has a fault.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			return a.runPlan(path, output, allowPrune)
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().BoolVar(&allowPrune, "allow-prune", false, "plan as if all removals were consented to")
	return cmd
}

func (a *app) runPlan(path, output string, allowPrune bool) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("cannot resolve %q: %w", path, err)
	}
	if st, err := os.Stat(abs); err != nil || !st.IsDir() {
		return fmt.Errorf("cannot plan for %q: not a directory", path)
	}
	snapshot := dir.Read(abs)
	changes, err := controller.DryRun(a.stateDir, snapshot, allowPrune)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	faulty := false
	for i := range snapshot.Faults {
		faulty = faulty || snapshot.Faults[i].Severity == manifests.Error
		fmt.Fprintln(a.err, safe(snapshot.Faults[i].String()))
	}
	if output == "json" {
		if changes == nil {
			changes = []controller.PlannedChange{}
		}
		if err := printJSON(a.out, changes); err != nil {
			return err
		}
	} else {
		for i := range changes {
			fmt.Fprintln(a.out, safe(changes[i].String()))
		}
		if len(changes) == 0 {
			fmt.Fprintln(a.out, "nothing would change")
		}
	}
	switch {
	case faulty:
		return exitError(exitFailed)
	case len(changes) > 0:
		return exitError(exitPending)
	}
	return nil
}
