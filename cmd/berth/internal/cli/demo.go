package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"berth/cmd/berth/internal/demo"
	"berth/runtime/image"
)

func (a *app) demo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo [DIR]",
		Short: "Run three replicas of a small web page, with things to try",
		Long: `Run three replicas of a small web page from an image inside this binary: no registry, no network. The manifest is written to
DIR (default ./berth-demo). Unless told otherwise the demo lives apart, in /var/lib/berth-demo and /run/berth-demo.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("state-dir") && os.Getenv("BERTH_STATE_DIR") == "" {
				a.stateDir = "/var/lib/berth-demo"
			}
			if !cmd.Flags().Changed("run-dir") && os.Getenv("BERTH_RUN_DIR") == "" {
				a.runDir = "/run/berth-demo"
			}
			dir := "berth-demo"
			if len(args) == 1 {
				dir = args[0]
			}
			return a.runDemo(cmd.Context(), dir)
		},
	}
}

func (a *app) runDemo(ctx context.Context, dir string) error {
	if err := needRoot("demo"); err != nil {
		return err
	}
	binary, err := ownBinary()
	if err != nil {
		return err
	}
	img, err := demo.Image(binary)
	if err != nil {
		return err
	}
	store, err := image.Open(image.Options{StateDir: a.stateDir})
	if err != nil {
		return err
	}
	_, err = store.LoadImage(ctx, img, demo.ImageName)
	if err = errors.Join(err, store.Close()); err != nil {
		return err
	}
	path, err := demo.Write(dir)
	if err != nil {
		return err
	}
	a.intro = demo.Hints(shorter(path), a.callAs(binary))
	return a.runUp(ctx, dir, upOptions{})
}

// callAs is how the user calls this binary for the demo's directories.
func (a *app) callAs(binary string) string {
	s := shorter(binary)
	if !filepath.IsAbs(s) && filepath.Dir(s) == "." {
		s = "./" + s
	}
	return fmt.Sprintf("%s --state-dir %s --run-dir %s", s, a.stateDir, a.runDir)
}

// shorter is a path as seen from here, when that is shorter.
func shorter(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, abs)
	if err != nil || len(rel) > len(abs) {
		return abs
	}
	return rel
}

func demoWeb() *cobra.Command {
	return &cobra.Command{
		Use: demo.WebCommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo.Serve(cmd.Context(), demo.Addr, os.Getenv("MESSAGE"))
		},
	}
}
