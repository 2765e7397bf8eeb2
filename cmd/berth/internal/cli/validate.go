package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"berth/manifests"
	"berth/manifests/dir"
)

func (a *app) validate() *cobra.Command {
	var output string
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate [PATH…]",
		Short: "Name every fault of manifests, with file, line and field",
		Long: `Name every fault of manifests: PATH:LINE:COLUMN: error|warning: KIND/NAME FIELD: text.

Each named file is a world of its own; a directory is one. The exit code is 1 exactly when a Kubernetes 1.36 API server would refuse
something of it.

Warnings name what a server would take and berth does not do to the letter. A field is
  approximated   done nearly as Kubernetes does it: the text says what is different
  not enforced   taken and kept, without effect
  refused        not done, and what uses it does not run
and honoured when nothing is said. With --strict these warnings are errors.`,
		Example: "  berth validate ./manifests\n  berth validate --strict -o json web.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			faults := dir.Check(args)
			if strict {
				refuseUnhonoured(faults)
			}
			return a.printFaults(faults, output)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "make errors of the warnings about what is not honoured")
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

// refuseUnhonoured makes errors of the warnings about fields and kinds that are not honoured.
func refuseUnhonoured(faults []manifests.Fault) {
	for i := range faults {
		if faults[i].Verdict != "" {
			faults[i].Severity = manifests.Error
		}
	}
}
