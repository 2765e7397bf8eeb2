package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/daemon"
	"berth/controller"
)

func (a *app) volume() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "List the volumes of claims, and remove what is kept for none",
		Long: `List the volumes of claims, and remove what is kept for none.

When a claim goes, its data stays, and a claim of its name finds it again. What is Released can be removed for good.`,
	}
	cmd.AddCommand(a.volumeLs(), a.volumeRm())
	return cmd
}

func (a *app) volumeLs() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the volumes, and whose they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := daemon.Status(cmd.Context(), a.stateDir, a.runDir)
			if err != nil {
				return err
			}
			var s controller.Status
			if err := json.Unmarshal(data, &s); err != nil {
				return fmt.Errorf("cannot read berth's answer: %w", err)
			}
			if output == "json" {
				return printJSON(a.out, s.Volumes)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "CLAIM\tVOLUME\tPHASE\tCAPACITY\tPOLICY\tCLASS\tFILE")
			for _, v := range s.Volumes {
				phase := v.Phase
				if v.Ending {
					phase = "Ending"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", dash(safe(v.Claim)), safe(v.Name), phase, dash(v.Capacity), dash(v.Policy), dash(safe(v.Class)), dash(safe(v.File)))
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (a *app) volumeRm() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME…", Short: "Remove volumes that no claim has, and their data", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := daemon.Call(cmd.Context(), a.runDir, "POST", "/volumes/remove", args)
			return err
		},
	}
}
