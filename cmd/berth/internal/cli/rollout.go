package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/daemon"
)

func (a *app) rollout() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout COMMAND KIND/NAME",
		Short: "Watch, undo, pause or restart the rollout of a workload",
		Long: `Watch, undo, pause or restart the rollout of a Deployment; watch and restart that of a StatefulSet or a DaemonSet. What is asked for here is kept beside the manifests and never in them: an undo
holds until the Deployment's file changes, a pause until resume.`,
	}
	cmd.AddCommand(a.rolloutStatus(), a.rolloutHistory(), a.rolloutUndo(),
		a.rolloutVerb(daemon.RolloutPause, "Keep a rollout as it is, whatever the file says", "paused"),
		a.rolloutVerb(daemon.RolloutResume, "Go on with a paused rollout", "resumed"),
		a.rolloutVerb(daemon.RolloutRestart, "Exchange all pods for new ones, step by step", "restarted"))
	return cmd
}

// rolloutCommand is one command; run gets the workload that it is about.
func (a *app) rolloutCommand(verb, short string, run func(context.Context, daemon.Rollout) error) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use: verb + " KIND/NAME", Short: short, Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, err := workloadName(args)
			if err != nil {
				return err
			}
			if kind != "Deployment" && verb != daemon.RolloutStatus && verb != daemon.RolloutRestart {
				return fmt.Errorf("cannot %s the rollout of a %s: only status and restart know more than Deployments", verb, kind)
			}
			return run(cmd.Context(), daemon.Rollout{Verb: verb, Kind: kind, Namespace: namespace, Name: name})
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the workload")
	return cmd
}

// workloadName reads KIND/NAME, or KIND NAME, as kubectl does.
func workloadName(args []string) (kind, name string, err error) {
	word, name, _ := strings.Cut(strings.Join(args, "/"), "/")
	switch strings.TrimSuffix(strings.ToLower(word), ".apps") {
	case "deploy", "deployment", "deployments":
		kind = "Deployment"
	case "sts", "statefulset", "statefulsets":
		kind = "StatefulSet"
	case "ds", "daemonset", "daemonsets":
		kind = "DaemonSet"
	}
	if kind == "" || name == "" || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("cannot tell what %q is: name a workload, such as deployment/web", strings.Join(args, " "))
	}
	return kind, name, nil
}

// rolloutVerb is a command that only asks.
func (a *app) rolloutVerb(verb, short, done string) *cobra.Command {
	return a.rolloutCommand(verb, short, func(ctx context.Context, r daemon.Rollout) error {
		if _, err := a.askRollout(ctx, r); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s.apps/%s %s\n", strings.ToLower(r.Kind), safe(r.Name), done)
		return nil
	})
}

func (a *app) rolloutUndo() *cobra.Command {
	var revision int64
	cmd := a.rolloutCommand(daemon.RolloutUndo, "Run an earlier revision until the file changes", func(ctx context.Context, r daemon.Rollout) error {
		r.Revision = revision
		if _, err := a.askRollout(ctx, r); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "deployment.apps/%s rolled back\n", safe(r.Name))
		return nil
	})
	cmd.Flags().Int64Var(&revision, "to-revision", 0, "the revision to run; 0 for the one before")
	return cmd
}

func (a *app) rolloutStatus() *cobra.Command {
	var watch bool
	var timeout time.Duration
	cmd := a.rolloutCommand(daemon.RolloutStatus, "Wait until a rollout is done; exit code 1 when it fails", func(ctx context.Context, r daemon.Rollout) error {
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		for {
			told, err := a.askRollout(ctx, r)
			if err != nil && ctx.Err() != nil {
				return fmt.Errorf("timed out waiting for the rollout of %s %q", strings.ToLower(r.Kind), r.Name)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, safe(told.Text))
			if told.Done || !watch {
				return nil
			}
			r.Seen = told.Text
		}
	})
	cmd.Flags().BoolVarP(&watch, "watch", "w", true, "wait until it is done")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; 0 for as long as it takes")
	return cmd
}

func (a *app) rolloutHistory() *cobra.Command {
	return a.rolloutCommand(daemon.RolloutHistory, "List the revisions of a Deployment", func(ctx context.Context, r daemon.Rollout) error {
		told, err := a.askRollout(ctx, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "deployment.apps/%s\n", safe(r.Name))
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "REVISION\tCHANGE-CAUSE")
		for _, v := range told.History {
			cause := v.ChangeCause
			if cause == "" {
				cause = "<none>"
			}
			fmt.Fprintf(w, "%d\t%s\n", v.Number, safe(cause))
		}
		return w.Flush()
	})
}

func (a *app) askRollout(ctx context.Context, r daemon.Rollout) (daemon.RolloutAnswer, error) {
	var told daemon.RolloutAnswer
	data, err := daemon.Call(ctx, a.runDir, "POST", "/rollout", r)
	if err != nil {
		return told, err
	}
	if err := json.Unmarshal(data, &told); err != nil {
		return told, fmt.Errorf("cannot read berth's answer: %w", err)
	}
	return told, nil
}
