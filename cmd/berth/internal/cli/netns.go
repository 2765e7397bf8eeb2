package cli

import (
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/daemon"
	"berth/runtime/network"
)

func (a *app) netns() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "netns POD -- COMMAND [ARG…]",
		Short: "Run a program of this machine in a pod's network",
		Long: `Run a program of this machine in the network namespace of a pod: it sees the pod's interfaces, addresses, routes and sockets, and
everything else as usual, the names it resolves included. berth becomes the program, so signals, terminal and exit code are its own. It works
with and without a running berth. POD may be the beginning of a name, or KIND/NAME of a workload.`,
		Example: "  berth netns web-5d8c9-x2k4p -- ss -tnp\n  berth netns deploy/web -- tcpdump -ni eth0",
		Args:    cobra.MinimumNArgs(2),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runNetns(cmd, namespace, args[0], args[1:]) },
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return a.podNames(cmd, namespace, word), cobra.ShellCompDirectiveNoFileComp
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(true)
	f.StringVarP(&namespace, "namespace", "n", "default", "namespace of the pod")
	return cmd
}

func (a *app) runNetns(cmd *cobra.Command, namespace, podName string, argv []string) error {
	if err := needRoot("netns"); err != nil {
		return err
	}
	s, err := a.picture(cmd.Context())
	if err != nil {
		return err
	}
	p, err := findPod(s, namespace, podName)
	if err != nil {
		return err
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		fmt.Fprintln(a.err, "berth: cannot find", argv[0], "on the PATH")
		return exitError(127)
	}
	rt, err := daemon.Visit(cmd.Context(), a.stateDir, a.runDir)
	if err != nil {
		return err
	}
	netns, err := rt.NetNS(cmd.Context(), p.UID)
	_ = rt.Close() // it only looked
	if err != nil {
		return err
	}
	// The thread that goes there is the one that becomes the program.
	goruntime.LockOSThread()
	if err := network.Enter(netns); err != nil {
		return err
	}
	if err := a.become(program, argv, os.Environ()); err != nil {
		return fmt.Errorf("cannot run %s: %w", program, err)
	}
	return nil
}

// podNames are the names of the pods of a namespace that begin with a word, for completion; none when nobody can say.
func (a *app) podNames(cmd *cobra.Command, namespace, word string) []string {
	s, err := a.picture(cmd.Context())
	if err != nil {
		return nil
	}
	var names []string
	for i := range s.Pods {
		if s.Pods[i].Namespace == namespace && strings.HasPrefix(s.Pods[i].Name, word) {
			names = append(names, s.Pods[i].Name)
		}
	}
	return names
}
