package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"berth/cmd/berth/internal/daemon"
	"berth/runtime"
)

func (a *app) exec() *cobra.Command {
	var namespace, container string
	var stdin, tty bool
	cmd := &cobra.Command{
		Use:   "exec POD [-c CONTAINER] -- COMMAND [ARG…]",
		Short: "Run a program inside a running container",
		Long: `Run a program inside a running container, with its namespaces, limits and rights, and return its exit code. It works with and
without a running berth; ` + "`berth kubectl exec`" + ` is kubectl's. POD may be the beginning of a name, or KIND/NAME of a workload.`,
		Example: "  berth exec web-5d8c9-x2k4p -- ls /\n  berth exec -it deploy/web -- sh",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := runtime.ExecConfig{Command: args[1:], Stdout: a.out, Stderr: a.err, TTY: tty}
			if stdin {
				cfg.Stdin = a.in
			}
			return a.runExec(cmd.Context(), namespace, args[0], container, cfg)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(true)
	f.StringVarP(&namespace, "namespace", "n", "default", "namespace of the pod")
	f.StringVarP(&container, "container", "c", "", "container (default: the first)")
	f.BoolVarP(&stdin, "stdin", "i", false, "pass standard input on")
	f.BoolVarP(&tty, "tty", "t", false, "give the program a terminal")
	return cmd
}

func (a *app) runExec(ctx context.Context, namespace, podName, containerName string, cfg runtime.ExecConfig) error {
	if err := needRoot("exec"); err != nil {
		return err
	}
	s, err := a.picture(ctx)
	if err != nil {
		return err
	}
	p, err := findPod(s, namespace, podName)
	if err != nil {
		return err
	}
	c, err := findContainer(p, containerName)
	if err != nil {
		return err
	}
	rt, err := daemon.Visit(ctx, a.stateDir, a.runDir)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close() }() // it only looked
	if cfg.TTY {
		restore, sizes, err := rawTerminal(ctx)
		if err != nil {
			return err
		}
		defer restore()
		cfg.Resize = sizes
	}
	code, err := rt.Exec(ctx, p.UID, c.Name, cfg)
	if start, ok := errors.AsType[*runtime.StartError](err); ok {
		fmt.Fprintln(a.err, "berth:", err)
		return exitError(notFoundCode(start))
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

// notFoundCode is what shells return for a command that is not there (127) or cannot be executed (126).
func notFoundCode(e *runtime.StartError) int {
	if errors.Is(e, syscall.ENOENT) {
		return 127
	}
	return 126
}

// rawTerminal hands every key to the program in the container until restore is called, and tells it the size of the terminal.
func rawTerminal(ctx context.Context) (restore func(), sizes <-chan runtime.Size, err error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil, nil, errors.New("cannot give the program a terminal: standard input is none; leave out -t")
	}
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot prepare the terminal: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	out := make(chan runtime.Size, 1)
	go func() {
		defer close(out)
		for {
			if w, h, err := term.GetSize(fd); err == nil {
				select {
				case out <- runtime.Size{Width: uint16(w), Height: uint16(h)}: //nolint:gosec // a terminal's size
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		cancel()
		_ = term.Restore(fd, old) // nothing better to do
	}, out, nil
}
