package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"berth/controller"
	"berth/runtime/logs"
)

// logFlags are the flags of logs.
type logFlags struct {
	namespace, container string
	follow, previous     bool
	tail                 int
	since                time.Duration
	timestamps           bool
}

func (a *app) logs() *cobra.Command {
	var o logFlags
	cmd := &cobra.Command{
		Use:   "logs POD [-c CONTAINER]",
		Short: "Print the log of a container",
		Long: `Print the log of a container, also of one that has ended. With -f new lines are printed as they come, across restarts of the
container, until its pod has ended or is gone. POD may be the beginning of a name, or KIND/NAME of a workload.

It works while no berth runs, too. ` + "`berth kubectl logs` is kubectl's, with all its flags.",
		Example: "  berth logs deploy/web\n  berth logs -f web-5d8c9-x2k4p -c sidecar\n  berth logs -p web-5d8c9-x2k4p     # of the attempt before",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runLogs(cmd.Context(), args[0], o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "default", "namespace of the pod")
	f.StringVarP(&o.container, "container", "c", "", "container (default: the first)")
	f.BoolVarP(&o.follow, "follow", "f", false, "print new lines as they come")
	f.BoolVarP(&o.previous, "previous", "p", false, "the attempt before the last restart")
	f.IntVar(&o.tail, "tail", -1, "number of last lines to begin with; -1 for all")
	f.DurationVar(&o.since, "since", 0, "leave out what is older, such as 10m")
	f.BoolVar(&o.timestamps, "timestamps", false, "put the time before each line")
	return cmd
}

func (a *app) runLogs(ctx context.Context, pod string, o logFlags) error {
	s, err := a.picture(ctx)
	if err != nil {
		return err
	}
	p, err := findPod(s, o.namespace, pod)
	if err != nil {
		return err
	}
	c, err := findContainer(p, o.container)
	if err != nil {
		return err
	}
	if c.LogPath == "" {
		return fmt.Errorf("cannot read the log of container %s: it has not been started (%s)", c.Name, c.State)
	}
	opts := logs.Options{Timestamps: o.timestamps}
	if o.tail >= 0 {
		opts.Tail = &o.tail
	}
	if o.since > 0 {
		opts.Since = time.Now().Add(-o.since)
	}
	path := c.LogPath
	if o.previous {
		if path, err = neighbour(path, -1); err != nil {
			return err
		}
	}
	if !o.follow || o.previous {
		err := logs.Read(ctx, path, opts, a.out)
		if errors.Is(err, fs.ErrNotExist) && o.previous {
			return fmt.Errorf("cannot read the log of container %s: there was no attempt before", c.Name)
		}
		return err
	}
	return a.followLogs(ctx, p, path, opts)
}

// followLogs prints the log of an attempt and of those after it.
func (a *app) followLogs(ctx context.Context, p *controller.PodRow, path string, opts logs.Options) error {
	for {
		ended := make(chan struct{})
		next := make(chan string, 1)
		watching, cancel := context.WithCancel(ctx)
		go func() {
			defer close(ended)
			next <- a.successor(watching, p, path)
		}()
		opts.Ended = ended
		err := logs.Follow(ctx, path, opts, a.out)
		cancel()
		path = <-next
		if err != nil || path == "" || ctx.Err() != nil {
			return err
		}
		opts.Tail, opts.Since = nil, time.Time{}
	}
}

// successor waits for the log of the next attempt and returns its path, or "" when none will come: the pod has ended or is gone.
func (a *app) successor(ctx context.Context, p *controller.PodRow, path string) string {
	next, err := neighbour(path, +1)
	if err != nil {
		return ""
	}
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return ""
	}
	defer func() { _ = watch.Close() }()
	// The log's folder tells of the next attempt, the pod's records that something has ended.
	for _, dir := range []string{filepath.Dir(path), filepath.Join(a.runDir, "pods", p.UID)} {
		if err := watch.Add(dir); err != nil {
			return ""
		}
	}
	// The status follows the records after a moment.
	settle := time.NewTimer(0)
	defer settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return ""
		case _, ok := <-watch.Events:
			if !ok {
				return ""
			}
			settle.Reset(statusLag)
		case <-settle.C:
			if a.over(ctx, p) {
				return ""
			}
		}
		if _, err := os.Stat(next); err == nil {
			return next
		}
	}
}

// statusLag is how long after a record the status is asked: longer than the controller needs for a pass.
const statusLag = 300 * time.Millisecond

// over tells whether a pod will not start anything any more.
func (a *app) over(ctx context.Context, p *controller.PodRow) bool {
	s, err := a.picture(ctx)
	if err != nil {
		return true
	}
	for i := range s.Pods {
		if s.Pods[i].UID == p.UID {
			return s.Pods[i].Phase == "Succeeded" || s.Pods[i].Phase == "Failed"
		}
	}
	return true
}

// neighbour is the log of another attempt: logs are CONTAINER/ATTEMPT.log.
func neighbour(path string, by int) (string, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".log"))
	if err != nil {
		return "", fmt.Errorf("cannot tell the attempt of log %q", path)
	}
	if n+by < 0 {
		return "", errors.New("cannot read the log of the attempt before: there was none")
	}
	return filepath.Join(filepath.Dir(path), strconv.Itoa(n+by)+".log"), nil
}
