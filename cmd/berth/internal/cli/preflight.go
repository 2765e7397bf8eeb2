package cli

import (
	"os"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/preflight"
)

func (a *app) preflight() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "Show what this machine offers, what follows from it, and what to do",
		Long: `Show what this machine offers: kernel, cgroups, overlayfs, user namespaces, nftables, forwarding, free disk, other engines. Each
finding that matters says its consequence and its remedy. The exit code is 1 when berth cannot run here.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			findings := preflight.This(a.stateDir).Check()
			if output == "json" {
				if err := printJSON(a.out, findings); err != nil {
					return err
				}
			} else {
				file, ok := a.out.(*os.File)
				preflight.Print(a.out, findings, ok && colorful(file))
			}
			if preflight.Worst(findings) == preflight.Fail {
				return exitError(exitFailed)
			}
			return nil
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
