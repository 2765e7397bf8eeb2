package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// Subscribe calls handle for every end of a container from now on, one at a time. handle must not block and must not use the client.
// A client that falls thousands of events behind is cut off (Done): dial again and List.
func (c *Client) Subscribe(ctx context.Context, handle func(Exit)) error {
	c.mu.Lock()
	c.handle = handle
	c.mu.Unlock()
	return c.plain(ctx, wire.SubscribeKind, nil)
}

// plain is a request whose answer says nothing.
func (c *Client) plain(ctx context.Context, kind wire.Kind, m any) error {
	file, err := c.do(ctx, kind, m, nil, nil)
	closeFile(file)
	return err
}

// carry makes a program part of a request. The files returned go along; undo closes what was made for it.
func carry(p *program.Builder, files []int) (wire.Program, []int, func(), error) {
	if len(files) > wire.MaxFiles {
		return wire.Program{}, nil, nil, fmt.Errorf("cannot send %d descriptors: at most %d", len(files), wire.MaxFiles)
	}
	m := wire.Program{Files: len(files)}
	if p == nil {
		return m, files, func() {}, nil
	}
	encoded := p.Encode()
	if len(encoded) <= wire.InlineProgram {
		m.Inline = encoded
		return m, files, func() {}, nil
	}
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	if err != nil {
		return m, nil, nil, fmt.Errorf("cannot make a memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "program")
	if _, err := f.Write(encoded); err != nil {
		f.Close()
		return m, nil, nil, fmt.Errorf("cannot write a program: %w", err)
	}
	m.Large = true
	return m, append(append([]int(nil), files...), fd), func() { f.Close() }, nil
}

// named gives a failed step the name that the program has for it.
func named(err error, p *program.Builder) error {
	var step *StepError
	if errors.As(err, &step) && step.Step >= 0 && p != nil {
		step.Name = p.Name(step.Step)
	}
	return err
}

// Sandbox makes a sandbox. ErrExists when there is one of this id; a *StepError when its program failed.
func (c *Client) Sandbox(ctx context.Context, r SandboxRequest) (Sandbox, error) {
	prog, files, undo, err := carry(r.Program, r.Files)
	if err != nil {
		return Sandbox{}, err
	}
	defer undo()
	var made wire.SandboxMade
	file, err := c.do(ctx, wire.SandboxKind, &wire.Sandbox{
		ID: r.ID, Flags: uint64(r.Flags), UIDMap: r.UIDMap, GIDMap: r.GIDMap, Program: prog, KeepAlive: r.KeepAlive,
		CgroupDir: r.CgroupDir, Timeout: int64(r.Timeout),
	}, files, &made)
	if err != nil {
		closeFile(file)
		return Sandbox{}, named(err, r.Program)
	}
	return Sandbox{ID: r.ID, NetNS: file, PID: made.PID, StartTicks: made.Ticks}, nil
}

// SandboxNetNS returns the network namespace of a sandbox; the caller closes it. ErrNotFound when it has none of its own.
func (c *Client) SandboxNetNS(ctx context.Context, id string) (*os.File, error) {
	return c.do(ctx, wire.SandboxFDKind, &wire.ID{ID: id}, nil, nil)
}

// ForgetSandbox drops a sandbox's namespaces and kills its KeepAlive process. ErrNotFound when there is none, ErrBusy while a container
// is being started in it. Containers that run in it keep their namespaces.
func (c *Client) ForgetSandbox(ctx context.Context, id string) error {
	return c.plain(ctx, wire.ForgetSandboxKind, &wire.ID{ID: id})
}

// Signal sends a signal to a container's first process. ErrNotFound for an unknown id; an ended container is not an error.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	return c.plain(ctx, wire.SignalKind, &wire.Signal{ID: id, Signal: uint32(sig)})
}

// PTY returns a copy of the master of a container's terminal, for writing to it and resizing it: reading is the log's. The caller closes it.
func (c *Client) PTY(ctx context.Context, id string) (*os.File, error) {
	return c.do(ctx, wire.PTYKind, &wire.ID{ID: id}, nil, nil)
}

// Forget drops an ended container: its FIFOs are closed and removed. ErrNotFound for an unknown id, ErrBusy while it runs.
func (c *Client) Forget(ctx context.Context, id string) error {
	return c.plain(ctx, wire.ForgetKind, &wire.ID{ID: id})
}

// List returns all that the keeper holds.
func (c *Client) List(ctx context.Context) (State, error) {
	id, w, err := c.begin(wire.ListKind, nil)
	if err != nil {
		return State{}, err
	}
	defer c.forget(id)
	if err := c.send(wire.ListKind, id, nil, nil); err != nil {
		return State{}, err
	}
	var s State
	for more := true; more; {
		var m wire.List
		file, err := c.await(ctx, w, &m)
		closeFile(file)
		if err != nil {
			return State{}, err
		}
		more = m.More
		for i := range m.Containers {
			e := &m.Containers[i]
			s.Containers = append(s.Containers, Container{
				ID: e.ID, Sandbox: e.Sandbox, PID: e.PID, StartTicks: e.Ticks, StartedAt: time.Unix(0, e.StartedAt),
				Ended: e.Ended, Exit: exitOf(&e.Exit).ExitStatus, Dropped: e.Dropped,
			})
		}
		for _, b := range m.Sandboxes {
			s.Sandboxes = append(s.Sandboxes, SandboxState{ID: b.ID, Flags: uintptr(b.Flags), PID: b.PID, StartTicks: b.Ticks})
		}
	}
	return s, nil
}

// Adopt takes over a running process. ErrNotFound when it is gone (or its number belongs to another process by now).
func (c *Client) Adopt(ctx context.Context, r AdoptRequest) error {
	return c.plain(ctx, wire.AdoptKind, &wire.Adopt{
		ID: r.ID, PID: r.PID, Ticks: r.StartTicks, StartedAt: r.StartedAt.UnixNano(), Sandbox: r.Sandbox, SandboxFlags: uint64(r.SandboxFlags),
		SandboxPID: r.SandboxPID, SandboxTicks: r.SandboxTicks, Log: r.Log.wire(), ExitPath: r.ExitPath,
	})
}

// Mount mounts a tmpfs at a directory below the run directory (made when missing), in the keeper's own mount namespace, where every
// container's own begins. options are those of mount -o: "size=65536k,mode=1777".
func (c *Client) Mount(ctx context.Context, path, options string) error {
	return c.plain(ctx, wire.MountKind, &wire.Mount{Path: path, Options: options})
}

// Unmount detaches what Mount mounted. It is not an error when nothing is mounted there.
func (c *Client) Unmount(ctx context.Context, path string) error {
	return c.plain(ctx, wire.UnmountKind, &wire.Mount{Path: path})
}

// JoinCgroups makes the keeper write itself to these `cgroup.procs` files.
func (c *Client) JoinCgroups(ctx context.Context, files []string) error {
	return c.plain(ctx, wire.JoinKind, &wire.Join{Files: files})
}

// Shutdown ends the keeper. ErrBusy while containers run, unless forced: then they are killed first.
func (c *Client) Shutdown(ctx context.Context, force bool) error {
	return c.plain(ctx, wire.ShutdownKind, &wire.Shutdown{Force: force})
}

// ReadExit reads the exit record that a keeper left in a file. An error that is fs.ErrNotExist means that there is none yet.
func ReadExit(path string) (Exit, error) {
	p, err := os.ReadFile(path)
	if err != nil {
		return Exit{}, fmt.Errorf("cannot read exit record: %w", err)
	}
	m, err := wire.ParseExit(p)
	if err != nil {
		return Exit{}, fmt.Errorf("cannot read exit record %q: %w", path, err)
	}
	return exitOf(&m), nil
}
