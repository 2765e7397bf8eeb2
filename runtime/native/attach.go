package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"berth/runtime"
	"berth/runtime/keeper/client"
)

var _ runtime.Attacher = (*Runtime)(nil)

const (
	// attachPatience is how long a container that takes no input waits for a client that reads nothing. One that is typed to waits for ever: there
	// a stopped terminal is meant.
	attachPatience = 10 * time.Second
	// endLag is how much later than the end of the output the end of the container may be told: both come from the keeper, by different ways.
	endLag = 2 * time.Second
)

// Attach implements runtime.Attacher.
func (r *Runtime) Attach(ctx context.Context, uid, name string, cfg runtime.AttachConfig) error {
	err := r.attachTo(ctx, uid, name, cfg)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("cannot attach to container %q of pod %s: %w", name, uid, err)
	}
	return err
}

func (r *Runtime) attachTo(ctx context.Context, uid, name string, cfg runtime.AttachConfig) error {
	r.settle(uid)
	a := &attached{keeper: r.client()}
	r.mu.Lock()
	if p := r.pods[uid]; p != nil {
		if a.c = p.newest(name); a.c != nil {
			a.rec = a.c.containerRecord
		}
	}
	r.mu.Unlock()
	switch {
	case a.c == nil || a.rec.State != runtime.Running:
		return notFound("running container")
	case a.keeper.Info().Version < client.VersionAttach:
		return fmt.Errorf("the keeper is that of an older berth: %w", runtime.ErrNotSupported)
	}
	a.id, a.fifo = a.c.keeperID(uid), r.dirs.fifo(uid, a.c.at(), "in")
	return a.run(ctx, cfg)
}

// attached is one client of a container.
type attached struct {
	keeper   *client.Client
	c        *container
	rec      containerRecord
	id, fifo string
}

func (a *attached) run(ctx context.Context, cfg runtime.AttachConfig) error {
	patience := attachPatience
	if a.rec.Config.Stdin {
		patience = 0
	}
	out, errOut, err := a.keeper.Attach(ctx, a.id, a.rec.Config.TTY, patience)
	if errors.Is(err, client.ErrNotFound) {
		return notFound("running container")
	}
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	input, err := a.openInput(ctx, cfg, stop)
	if err == nil && input != nil {
		go a.feed(context.WithoutCancel(ctx), input, cfg.Stdin)
	}
	letGo := func() {
		_ = out.Close() // pipes: nothing can be lost
		if errOut != nil {
			_ = errOut.Close()
		}
		if input != nil {
			_ = input.Close()
		}
	}
	defer letGo()
	defer context.AfterFunc(ctx, letGo)()
	if err != nil {
		return err
	}
	var output sync.WaitGroup
	output.Go(func() { show(cfg.Stdout, out) })
	if errOut != nil {
		output.Go(func() { show(cfg.Stderr, errOut) })
	}
	output.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	lag := time.NewTimer(endLag)
	defer lag.Stop()
	select {
	case <-a.c.done:
		return nil
	case <-lag.C:
		return errors.New("its output came faster than it was taken, or the keeper was replaced")
	}
}

// show copies the container's output. A client that takes no more lets go of the pipe.
func show(w io.Writer, f *os.File) {
	if w == nil {
		w = io.Discard
	}
	_, _ = io.Copy(w, f) // the end, or the client has gone
	_ = f.Close()
}

// openInput is where the client's input goes; nil for nowhere.
func (a *attached) openInput(ctx context.Context, cfg runtime.AttachConfig, stop <-chan struct{}) (*os.File, error) {
	if a.rec.Config.TTY {
		pty, err := a.keeper.PTY(ctx, a.id)
		if err != nil {
			return nil, err
		}
		go resize(pty, cfg.Resize, stop)
		return pty, nil
	}
	if cfg.Stdin == nil || !a.rec.Config.Stdin {
		return nil, nil
	}
	if a.keeper.Info().Version >= client.VersionInput {
		f, err := a.keeper.Input(ctx, a.id)
		if !errors.Is(err, client.ErrNotFound) {
			return f, err
		}
	}
	f, err := os.OpenFile(a.fifo, os.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, os.ErrNotExist) {
		return nil, nil // the container reads no more
	}
	return f, err
}

// feed hands the client's input on. It ends with its reader, which is the caller's: nobody can wait for a read from a terminal.
func (a *attached) feed(ctx context.Context, input *os.File, stdin io.Reader) {
	if stdin == nil || !a.rec.Config.Stdin {
		return
	}
	_, _ = io.Copy(input, stdin) // the client has no more, or the container wants no more
	if a.rec.Config.TTY {
		return // what the program still writes is shown; a terminal ends by a key
	}
	_ = input.Close()
	if a.rec.Config.StdinOnce {
		_ = a.keeper.CloseInput(ctx, a.id) // it has ended, or its input has
	}
}
