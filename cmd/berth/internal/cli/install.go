package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/unit"
)

// unitDir is where an administrator's own units live (systemd.unit(5)).
const unitDir = "/etc/systemd/system"

func (a *app) install() *cobra.Command {
	var name string
	var show, noStart bool
	cmd := &cobra.Command{
		Use:   "install [DIR] [-- UP-ARGUMENTS…]",
		Short: "Run `berth up DIR` as a systemd service",
		Long: `Run "berth up DIR" as a systemd service that starts with the machine.

Stopping or restarting the service leaves the containers running; "berth down" takes them away.`,
		Example: "  berth install /srv/manifests\n  berth install /srv/manifests -- --strict\n  berth install --print /srv/manifests",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.installUnit(cmd.Context(), name, args, show, noStart)
		},
	}
	cmd.Flags().StringVar(&name, "name", "berth", "name of the service")
	cmd.Flags().BoolVar(&show, "print", false, "print the unit and change nothing")
	cmd.Flags().BoolVar(&noStart, "no-start", false, "enable the service, but do not start it now")
	return cmd
}

func (a *app) installUnit(ctx context.Context, name string, args []string, show, noStart bool) error {
	dir := "."
	if len(args) > 0 {
		dir, args = args[0], args[1:]
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("cannot resolve %q: %w", dir, err)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return fmt.Errorf("cannot install for %q: not a directory", dir)
	}
	binary, err := ownBinary()
	if err != nil {
		return err
	}
	text := unit.Text(unit.Config{Binary: binary, Dir: dir, StateDir: a.stateDir, RunDir: a.runDir, Args: args})
	if show {
		fmt.Fprint(a.out, text)
		return nil
	}
	if err := needRoot("install"); err != nil {
		return err
	}
	if err := haveSystemd(); err != nil {
		return err
	}
	if temporary(binary) {
		return fmt.Errorf("cannot install %q: it is in a temporary directory; copy it first: install -m 755 %s /usr/local/bin/berth", binary, binary)
	}
	path := filepath.Join(unitDir, name+".service")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // units are public
		return fmt.Errorf("cannot write the unit: %w", err)
	}
	steps := [][]string{{"daemon-reload"}, {"enable", name + ".service"}}
	if !noStart {
		steps = append(steps, []string{"restart", name + ".service"})
	}
	for _, step := range steps {
		if err := systemctl(ctx, step...); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.out, "wrote %s\n", path)
	if !noStart {
		fmt.Fprintf(a.out, "started; look with:  berth status   or   journalctl -u %s -f\n", name)
	}
	return nil
}

func (a *app) uninstall() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the systemd service; what runs goes on",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("uninstall"); err != nil {
				return err
			}
			path := filepath.Join(unitDir, name+".service")
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				fmt.Fprintf(a.out, "there is no %s\n", path)
				return nil
			}
			if err := systemctl(cmd.Context(), "disable", "--now", name+".service"); err != nil {
				return err
			}
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("cannot remove the unit: %w", err)
			}
			if err := systemctl(cmd.Context(), "daemon-reload"); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "removed %s; the containers go on, take them down with: berth down\n", path)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "berth", "name of the service")
	return cmd
}

func haveSystemd() error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return errors.New("cannot install: this machine does not run systemd; start `berth up DIR` from your init instead")
	}
	return nil
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// ownBinary is the file this program was started from.
func ownBinary() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find berth's own binary: %w", err)
	}
	return path, nil
}

func temporary(path string) bool {
	return strings.HasPrefix(path, "/tmp/") || strings.HasPrefix(path, "/var/tmp/") || strings.Contains(path, "/go-build")
}
