package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/daemon"
	"berth/controller"
)

func (a *app) why() *cobra.Command {
	var namespace, output string
	cmd := &cobra.Command{
		Use:   "why OBJECT",
		Short: "Explain why an object is as it is, from its file to exit codes",
		Long: `Explain why an object is as it is: the answer in one sentence, and the chain that leads to it, from the file and line that state it, over its
revision and what berth decided, to its pods, their containers, the system call or the registry that failed, and the exit code. What is wrong is
marked with "!".

OBJECT is KIND/NAME, KIND/NAMESPACE/NAME or a name alone, of a pod also its beginning; kinds may be written as kubectl knows them. It may be gone:
what was before is known as long as berth runs. The exit code is 0 when nothing is wrong with it, 1 otherwise.`,
		Example: "  berth why deploy/web\n  berth why web-5d8c9-x2k4p      # also when that pod is gone\n  berth why pvc/data -n shop",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runWhy(cmd.Context(), daemon.WhyRequest{Target: args[0], Namespace: namespace}, output)
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the object")
	outputFlag(cmd, &output)
	return cmd
}

func (a *app) runWhy(ctx context.Context, r daemon.WhyRequest, output string) error {
	data, err := daemon.Call(ctx, a.runDir, "POST", "/why", r)
	if err != nil {
		return err
	}
	var told controller.Account
	if err := json.Unmarshal(data, &told); err != nil {
		return fmt.Errorf("cannot read berth's answer: %w", err)
	}
	if output == "json" {
		if err := printJSON(a.out, told); err != nil {
			return err
		}
	} else {
		fmt.Fprint(a.out, accountText(&told, time.Now()))
	}
	if !told.Well {
		return exitError(exitFailed)
	}
	return nil
}

// accountText is an account for people: the answer, then the chain, one link a line.
func accountText(t *controller.Account, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", safe(t.Object), safe(t.Answer))
	last := ""
	for _, l := range t.Lines {
		mark, link, text := " ", l.Link, l.Text
		if l.Bad {
			mark = "!"
		}
		if l.Link == "container" {
			link, text = "", "  "+text
		} else if l.Of != "" {
			text = l.Of + ": " + text
		}
		if link == last && link != "" && link != "pod" && link != "gone" {
			link = ""
		}
		last = l.Link
		if !l.Time.IsZero() {
			text += "  (" + ageText(now.Sub(l.Time)) + " ago)"
		}
		fmt.Fprintf(&b, "%s %-9s %s\n", mark, link, safe(text))
	}
	return b.String()
}
