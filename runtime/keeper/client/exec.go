package client

import (
	"context"
	"os"
	"syscall"

	"berth/runtime/keeper/wire"
)

// Process is a process of Exec.
type Process struct {
	PID int
	// PTY is the master of its terminal, nil without TTY. The caller closes it.
	PTY *os.File

	client *Client
	id     uint64
	done   chan struct{} // closed when it has ended or that cannot be known any more
	known  bool          // written before done is closed
	status ExitStatus
}

// Exec runs a further process in a container. It belongs to this connection: when that ends, the process is killed.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (*Process, error) {
	prog, files, undo, err := carry(r.Program, r.Files)
	if err != nil {
		return nil, err
	}
	defer undo()
	p := &Process{client: c, done: make(chan struct{})}
	id, w, err := c.begin(wire.ExecKind, p)
	if err != nil {
		return nil, err
	}
	defer c.forget(id)
	err = c.send(wire.ExecKind, id, &wire.Exec{
		Container: r.Container, Flags: uint64(r.Flags), CgroupDir: r.CgroupDir, Program: prog, TTY: r.TTY, TTYOwner: r.TTYOwner, Timeout: int64(r.Timeout),
	}, files)
	var m wire.Started
	if err == nil {
		p.PTY, err = c.await(ctx, w, &m)
	}
	if err != nil {
		closeFile(p.PTY)
		c.mu.Lock()
		delete(c.execs, id)
		c.mu.Unlock()
		if ctx.Err() != nil { // it may start all the same
			_ = c.send(wire.SignalKind, 0, &wire.Signal{Exec: id, Signal: uint32(syscall.SIGKILL)}, nil)
		}
		return nil, named(err, r.Program)
	}
	p.PID = m.PID
	return p, nil
}

func (c *Client) execEnded(packet []byte) {
	var m wire.Exit
	wire.Decode(packet, &m)
	c.mu.Lock()
	p := c.execs[m.Exec]
	delete(c.execs, m.Exec)
	c.mu.Unlock()
	if p != nil {
		p.status, p.known = exitOf(&m).ExitStatus, true
		close(p.done)
	}
}

// Wait returns how the process ended. ErrKeeperGone when that cannot be known any more.
func (p *Process) Wait(ctx context.Context) (ExitStatus, error) {
	select {
	case <-p.done:
		if !p.known {
			return ExitStatus{}, ErrKeeperGone
		}
		return p.status, nil
	case <-ctx.Done():
		return ExitStatus{}, ctx.Err()
	}
}

// Signal sends a signal to the process. An ended process is not an error.
func (p *Process) Signal(ctx context.Context, sig syscall.Signal) error {
	return p.client.plain(ctx, wire.SignalKind, &wire.Signal{Exec: p.id, Signal: uint32(sig)})
}
