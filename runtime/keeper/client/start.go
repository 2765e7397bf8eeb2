package client

import (
	"context"
	"fmt"
	"os"
	"time"

	"berth/runtime/keeper/wire"
)

// Start starts a container and returns when its program has been executed. A *StepError says which step failed, an *AttachError that
// Attach did.
func (c *Client) Start(ctx context.Context, r StartRequest) (Started, error) {
	prog, files, undo, err := carry(r.Program, r.Files)
	if err != nil {
		return Started{}, err
	}
	defer undo()
	id, w, err := c.begin(wire.StartKind, nil)
	if err != nil {
		return Started{}, err
	}
	defer c.giveUp(id, w)
	err = c.send(wire.StartKind, id, &wire.Start{
		ID: r.ID, Sandbox: r.Sandbox, Flags: uint64(r.Flags), CgroupDir: r.CgroupDir, Program: prog, Log: r.Log.wire(),
		ExitPath: r.ExitPath, TTY: r.TTY, Timeout: int64(r.Timeout), Namespaces: uint64(r.Namespaces), Attach: r.Attach != nil, Target: r.Target, Input: r.Input,
	}, files)
	if err != nil {
		return Started{}, err
	}
	var attached error
	if r.Attach != nil {
		attached = c.attach(ctx, w, r.Attach)
	}
	var m wire.Started
	file, err := c.await(ctx, w, &m)
	closeFile(file)
	if attached != nil { // the failure of the start follows from it
		return Started{}, &AttachError{attached}
	}
	if err != nil {
		return Started{}, named(err, r.Program)
	}
	return Started{PID: m.PID, StartTicks: m.Ticks, At: time.Unix(0, m.At)}, nil
}

// attach waits for the namespaces of a start, has them attached, and opens the gate. What fails before there are any, the answer tells.
func (c *Client) attach(ctx context.Context, w *call, attach func(*os.File) error) error {
	var files []*os.File
	select {
	case files = <-w.born:
	case r := <-w.replies: // it has failed before
		w.replies <- r
		return nil
	case <-ctx.Done():
		return nil
	case <-c.done:
		return nil
	}
	defer closeFiles(files)
	if len(files) != 2 {
		return fmt.Errorf("cannot use %d descriptors of the keeper", len(files))
	}
	if err := attach(files[0]); err != nil {
		return err
	}
	_, _ = files[1].Write([]byte{1}) // EPIPE: the child is gone, which the answer tells
	return nil
}

// born hands the namespace and the gate of a start to who waits for them. Closed, the gate ends the start.
func (c *Client) born(id uint64, files []*os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.waiting[id]; w != nil {
		select {
		case w.born <- files:
			return
		default:
		}
	}
	closeFiles(files)
}

// giveUp ends a call that may have descriptors on their way to it.
func (c *Client) giveUp(id uint64, w *call) {
	c.forget(id)
	select {
	case files := <-w.born:
		closeFiles(files)
	default:
	}
}
