package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"berth/manifests"
	"berth/manifests/dir"
)

func (a *app) validate() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "validate [PATH…]",
		Short: "Name every fault of manifests, with file, line and field",
		Long: `Name every fault of manifests: PATH:LINE:COLUMN: error|warning: KIND/NAME FIELD: text.

Each named file is a world of its own; a directory is one. The exit code is 1 exactly when a Kubernetes 1.36 API server would refuse
something of it. Warnings name what it would take and berth does nothing with.`,
		Example: "  berth validate ./manifests\n  berth validate -o json web.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			return a.printFaults(dir.Check(args), output)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (a *app) printFaults(faults []manifests.Fault, output string) error {
	if output == "json" {
		if faults == nil {
			faults = []manifests.Fault{}
		}
		if err := printJSON(a.out, faults); err != nil {
			return err
		}
	} else {
		for _, f := range faults {
			fmt.Fprintln(a.out, safe(f.String()))
		}
	}
	for _, f := range faults {
		if f.Severity == manifests.Error {
			return exitError(exitFailed)
		}
	}
	return nil
}
