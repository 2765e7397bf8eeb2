package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"berth/controller/api"
)

// handedOver are kubectl's verbs that berth takes under its own name, with what they do. logs, exec and rollout are berth's own: these work while no berth
// runs, too.
func handedOver() [][2]string {
	return [][2]string{
		{"get", "Show objects"},
		{"describe", "Show an object with its events"},
		{"attach", "Join the terminal of a container"},
		{"cp", "Copy files to and from containers"},
		{"port-forward", "Reach a pod's port from this machine"},
		{"scale", "Change replicas in the manifest"},
		{"wait", "Wait for a condition of objects"},
		{"top", "Show what pods use"},
		{"events", "Show what has happened"},
		{"apply", "Write objects into the manifests"},
		{"delete", "Remove objects from the manifests"},
		{"diff", "Compare files with what is kept"},
		{"edit", "Change an object in an editor"},
		{"explain", "Explain the fields of a kind"},
	}
}

// kubectlGroup is where help lists them.
const kubectlGroup = "kubectl"

// kubectl are the commands that hand over to the kubectl on the PATH.
func (a *app) kubectl() []*cobra.Command {
	list := []*cobra.Command{a.handOver("", "kubectl [ARG…]", "Run kubectl against this berth",
		"Run the kubectl on the PATH against the berth of --run-dir, with all the arguments as they are. Its own `logs`, `exec` and `rollout` are here, too:\n"+
			"`berth logs` and `berth exec` know fewer flags, but work while no berth runs.")}
	for _, v := range handedOver() {
		list = append(list, a.handOver(v[0], v[0], v[1], "This is `kubectl "+v[0]+"` against the berth of --run-dir; it needs kubectl on the PATH."))
	}
	return list
}

func (a *app) handOver(verb, use, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, GroupID: kubectlGroup,
		DisableFlagParsing: true, // they are kubectl's
		PersistentPreRunE:  func(*cobra.Command, []string) error { return nil },
		RunE: func(_ *cobra.Command, args []string) error {
			program, args, err := a.toKubectl(verb, args)
			if err != nil {
				return err
			}
			if err := a.become(program, args, os.Environ()); err != nil {
				return fmt.Errorf("cannot run %s: %w", program, err)
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			return a.completeKubectl(verb, args, word)
		},
	}
	return cmd
}

// toKubectl is what to run. Berth's own flags are taken out, wherever they stand before a "--", and tell which berth is meant.
func (a *app) toKubectl(verb string, args []string) (program string, argv []string, err error) {
	if args, err = a.ownFlags(args); err != nil {
		return "", nil, err
	}
	if program, err = exec.LookPath("kubectl"); err != nil {
		return "", nil, errors.New("cannot find kubectl on the PATH: https://kubernetes.io/docs/tasks/tools tells how to get it; any version from 1.30 will do")
	}
	config := filepath.Join(a.runDir, api.Kubeconfig)
	if _, err := os.Stat(config); err != nil && !slices.Contains(args, "--help") && !slices.Contains(args, "-h") {
		if errors.Is(err, os.ErrPermission) {
			return "", nil, fmt.Errorf("cannot read %s: it lets in whoever reads it, so it is root's alone", config)
		}
		return "", nil, fmt.Errorf("cannot find %s: no berth has run there since the machine was started; try `berth up`", config)
	}
	argv = []string{"kubectl", "--kubeconfig", config}
	if verb != "" {
		argv = append(argv, verb)
	}
	return program, append(argv, args...), nil
}

// ownFlags takes --state-dir and --run-dir out of the arguments.
func (a *app) ownFlags(args []string) (rest []string, err error) {
	own := map[string]*string{"--state-dir": &a.stateDir, "--run-dir": &a.runDir}
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		name, value, joined := strings.Cut(args[i], "=")
		to := own[name]
		switch {
		case to == nil:
			rest = append(rest, args[i])
			continue
		case joined:
		case i+1 == len(args):
			return nil, fmt.Errorf("flag needs an argument: %s", name)
		default:
			i++
			value = args[i]
		}
		*to = value
	}
	return rest, a.absolute()
}

// completeKubectl asks kubectl, which answers every program made with cobra: words, one a line, and a directive.
func (a *app) completeKubectl(verb string, args []string, word string) ([]string, cobra.ShellCompDirective) {
	program, argv, err := a.toKubectl(verb, args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	// "kubectl --kubeconfig FILE get …" is completed as "kubectl __complete --kubeconfig FILE get … WORD".
	out, err := exec.Command(program, append(append([]string{"__complete"}, argv[1:]...), word)...).Output()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
	last := len(lines) - 1
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[last], ":"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:last], cobra.ShellCompDirective(directive)
}

// execve becomes another program.
func execve(program string, argv, env []string) error { return syscall.Exec(program, argv, env) }
