// Package cli is berth's command line: one file per command.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// Exit codes of the contract.
const (
	exitDone    = 0
	exitFailed  = 1
	exitPending = 2 // plan: changes pending
)

// exitError ends the program with a code of its own and prints nothing more.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// app is what every command shares.
type app struct {
	stateDir, runDir string
	in               io.Reader
	// intro stands above the live table of up.
	intro    string
	out, err io.Writer
	// become turns this process into another program.
	become func(program string, argv, env []string) error
}

// Main runs one command line and returns its exit code.
func Main(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut, become: execve}
	root := a.root() //nolint:contextcheck // cobra gives it to each command
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var code exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	default:
		fmt.Fprintln(errOut, "berth:", err)
		return exitFailed
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "berth",
		Short: "Keep this machine in the state that a directory of Kubernetes manifests declares",
		Long: `berth keeps this machine in the state that a directory of Kubernetes manifests declares.

Save a file with "replicas: 3" and three pods run; change it and they follow; delete it and they drain and go.
One binary, no Docker, no containerd, no cluster.

  berth demo                 three replicas of a small web page, with things to try
  berth up ./manifests       watch a directory and make it true
  berth status               what runs, what waits, what is wrong and where
  berth down                 take everything down again, without a trace`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       Version(),
	}
	root.PersistentFlags().StringVar(&a.stateDir, "state-dir", envOr("BERTH_STATE_DIR", "/var/lib/berth"),
		"images, writable layers, volumes, logs, last good objects (BERTH_STATE_DIR)")
	root.PersistentFlags().StringVar(&a.runDir, "run-dir", envOr("BERTH_RUN_DIR", "/run/berth"),
		"sockets and what a reboot may forget (BERTH_RUN_DIR)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.absolute() }
	root.AddCommand(a.up(), a.down(), a.status(), a.plan(), a.validate(), a.allow(), a.rollout(), a.why(), a.volume(), a.logs(), a.exec(), a.netns(), a.image(),
		a.preflight(), a.install(), a.uninstall(), a.demo(), demoWeb())
	root.AddGroup(&cobra.Group{ID: kubectlGroup, Title: "Verbs of the kubectl on the PATH, against this berth:"})
	root.AddCommand(a.kubectl()...)
	return root
}

// absolute makes both directories independent of where the program stands.
func (a *app) absolute() error {
	for _, dir := range []*string{&a.stateDir, &a.runDir} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return fmt.Errorf("cannot resolve %q: %w", *dir, err)
		}
		*dir = abs
	}
	return nil
}

// needRoot says in one line why root is needed.
func needRoot(verb string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("cannot %s as uid %d: namespaces, cgroups and mounts need root; try: sudo berth %s", verb, os.Geteuid(), verb)
	}
	return nil
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
