package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/daemon"
	"berth/controller"
)

func (a *app) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what runs, what waits, what is wrong and where",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := daemon.Status(cmd.Context(), a.stateDir, a.runDir)
			if errors.Is(err, daemon.ErrNotRunning) {
				return a.statusAlone(output)
			}
			if err != nil {
				return err
			}
			var s controller.Status
			if err := json.Unmarshal(data, &s); err != nil {
				return fmt.Errorf("cannot read berth's answer: %w", err)
			}
			return a.printStatus(&s, output)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (a *app) printStatus(s *controller.Status, output string) error {
	if output == "json" {
		return printJSON(a.out, s)
	}
	file, ok := a.out.(*os.File)
	t := table{w: a.out, color: ok && colorful(file)}
	t.print(s)
	for _, e := range lastEvents(s, 8) {
		fmt.Fprintln(a.out, safe(eventLine(e)))
	}
	return nil
}

// statusAlone tells what the machine has while no berth looks after it.
func (a *app) statusAlone(output string) error {
	s, err := daemon.Offline(a.runDir)
	if err != nil {
		return err
	}
	if output == "json" {
		return printJSON(a.out, s)
	}
	fmt.Fprintf(a.out, "berth is not running: nobody follows the files. Start it with:  %s\n", a.command("up DIR"))
	file, ok := a.out.(*os.File)
	table{w: a.out, color: ok && colorful(file)}.pods(s)
	return nil
}
