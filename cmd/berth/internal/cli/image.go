package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"berth/runtime"
	"berth/runtime/image"
	"berth/runtime/native"
)

// defaultRegistries is where the registries file is looked for when no flag names another.
const defaultRegistries = "/etc/berth/registries.yaml"

func (a *app) image() *cobra.Command {
	var registries string
	cmd := &cobra.Command{
		Use:   "image",
		Short: "List, fetch and remove images",
		Long: `List, fetch and remove the images of this machine. Works with and without a running berth.

An image is unpacked once and shared by all replicas that run from it.`,
	}
	cmd.PersistentFlags().StringVar(&registries, "registries", defaultRegistries, "mirrors, CAs, credentials: k3s's registries.yaml form")
	store := func(f func(*image.Store) error) error {
		s, err := image.Open(image.Options{StateDir: a.stateDir, Registries: registries, InUse: func() map[string]bool {
			return native.ImagesInUse(a.runDir)
		}})
		if err != nil {
			return err
		}
		return errors.Join(f(s), s.Close())
	}
	cmd.AddCommand(a.imageLs(store), a.imagePull(store), a.imageLoad(store), a.imageRm(store), a.imagePrune(store))
	return cmd
}

// withStore runs a function on the image store.
type withStore func(func(*image.Store) error) error

func (a *app) imageLs(store withStore) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the images", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return store(func(s *image.Store) error {
				list, err := s.List()
				if err != nil {
					return err
				}
				if output == "json" {
					return printJSON(a.out, list)
				}
				w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "IMAGE\tID\tCREATED\tSIZE\tUNIQUE\tIN USE")
				for _, l := range list {
					names := l.Names
					if len(names) == 0 {
						names = []string{"<none>"}
					}
					for _, name := range names {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", safe(name), l.ShortID(), since(l.Created), bytesText(l.Size), bytesText(l.Unique), yes(l.InUse))
					}
				}
				return w.Flush()
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (a *app) imagePull(store withStore) *cobra.Command {
	return &cobra.Command{
		Use: "pull IMAGE…", Short: "Fetch images from their registries", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return store(func(s *image.Store) error {
				for _, ref := range args {
					if err := a.pullOne(cmd.Context(), s, ref); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (a *app) pullOne(ctx context.Context, s *image.Store, ref string) error {
	meter := newMeter(a.err, ref)
	img, err := s.Pull(ctx, ref, runtime.PullOptions{Progress: meter.update})
	meter.end()
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s %s\n", safe(ref), img.Digest)
	return nil
}

func (a *app) imageLoad(store withStore) *cobra.Command {
	return &cobra.Command{
		Use: "load FILE|DIRECTORY|-…", Short: "Load docker archives and OCI layouts", Args: cobra.MinimumNArgs(1),
		Example: "  docker save web:1 | berth image load -\n  berth image load web.tar\n  berth image load ./oci-layout",
		RunE: func(cmd *cobra.Command, args []string) error {
			return store(func(s *image.Store) error {
				for _, path := range args {
					var loaded []image.Loaded
					var err error
					if path == "-" {
						loaded, err = s.LoadReader(cmd.Context(), a.in)
					} else {
						loaded, err = s.Load(cmd.Context(), path)
					}
					if err != nil {
						return err
					}
					for _, l := range loaded {
						fmt.Fprintf(a.out, "%s %s\n", safe(strings.Join(l.Names, " ")), l.Image.ID)
					}
				}
				return nil
			})
		},
	}
}

func (a *app) imageRm(store withStore) *cobra.Command {
	return &cobra.Command{
		Use: "rm IMAGE…", Short: "Remove images that no container runs from", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return store(func(s *image.Store) error {
				for _, ref := range args {
					p, err := s.Remove(cmd.Context(), ref)
					if err != nil {
						return err
					}
					a.printPruned(p)
				}
				return nil
			})
		},
	}
}

func (a *app) imagePrune(store withStore) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove images that nothing uses and no name leads to", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return store(func(s *image.Store) error {
				p, err := s.Prune(cmd.Context(), image.Keep{Named: !all})
				if err != nil {
					return err
				}
				a.printPruned(p)
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also images that have a name, when no container runs from them")
	return cmd
}

func (a *app) printPruned(p image.Pruned) {
	for _, name := range p.Images {
		fmt.Fprintln(a.out, "removed", safe(name))
	}
	fmt.Fprintln(a.out, "freed", bytesText(p.Bytes))
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("cannot print JSON: %w", err)
	}
	return nil
}

func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "json for a stable machine form")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *output != "" && *output != "json" {
			return fmt.Errorf("cannot print %q: the only other form is json", *output)
		}
		return nil
	}
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp))
}

// meter shows how far a pull is: one line that is written over on a terminal, nothing otherwise.
type meter struct {
	ch   chan [2]int64
	done chan struct{}
}

func newMeter(w io.Writer, ref string) *meter {
	m := &meter{ch: make(chan [2]int64, 1), done: make(chan struct{})}
	file, ok := w.(*os.File)
	tty := ok && isTerminal(file)
	go func() {
		defer close(m.done)
		for p := range m.ch {
			if tty {
				fmt.Fprintf(w, "\r\x1b[K%s  %s of %s", safe(ref), bytesText(p[0]), bytesText(p[1]))
			}
		}
		if tty {
			fmt.Fprint(w, "\r\x1b[K")
		}
	}()
	return m
}

// update never blocks a transfer: a step that cannot be shown at once is left out.
func (m *meter) update(complete, total int64) {
	select {
	case m.ch <- [2]int64{complete, total}:
	default:
	}
}

func (m *meter) end() {
	close(m.ch)
	<-m.done
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func since(t time.Time) string {
	if t.IsZero() || t.Year() < 1990 {
		return ""
	}
	return ageText(time.Since(t))
}
