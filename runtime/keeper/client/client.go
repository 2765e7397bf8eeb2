package client

import (
	"context"
	"errors"
	"os"
	"syscall"
)

var errUnbuilt = errors.New("not built yet")

// Client is a connection to a keeper. It is safe for concurrent use.
type Client struct{}

// Dial connects to the keeper that serves runDir; ErrNoKeeper when there is none.
func Dial(ctx context.Context, runDir string) (*Client, error) { return nil, errUnbuilt }

// Spawn starts `binary keeper --run-dir runDir` in a session of its own, detached from the caller's terminal, and returns when it serves.
// When one serves already, that is not an error.
func Spawn(ctx context.Context, binary, runDir string, opts SpawnOptions) error { return errUnbuilt }

// Info is what the keeper said when the connection was made.
func (c *Client) Info() Info { return Info{} }

// Done is closed when the connection is gone: closed, or the keeper died.
func (c *Client) Done() <-chan struct{} { return nil }

// Close ends the connection. Processes of Exec that still run are killed.
func (c *Client) Close() error { return errUnbuilt }

// Subscribe calls handle for every end of a container from now on, one at a time. handle must not block and must not use the client.
func (c *Client) Subscribe(ctx context.Context, handle func(Exit)) error { return errUnbuilt }

// Sandbox makes a sandbox. ErrExists when there is one of this id; a *StepError when its program failed.
func (c *Client) Sandbox(ctx context.Context, r SandboxRequest) (Sandbox, error) {
	return Sandbox{}, errUnbuilt
}

// SandboxNetNS returns the network namespace of a sandbox; the caller closes it.
func (c *Client) SandboxNetNS(ctx context.Context, id string) (*os.File, error) {
	return nil, errUnbuilt
}

// ForgetSandbox drops a sandbox's namespaces and kills its KeepAlive process. ErrNotFound when there is none.
func (c *Client) ForgetSandbox(ctx context.Context, id string) error { return errUnbuilt }

// Start starts a container and returns when its program has been executed. A *StepError says which step failed.
func (c *Client) Start(ctx context.Context, r StartRequest) (Started, error) {
	return Started{}, errUnbuilt
}

// Exec runs a further process in a container. It belongs to this connection: when that ends, the process is killed.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (*Process, error) { return nil, errUnbuilt }

// Signal sends a signal to a container's first process. ErrNotFound for an unknown id; an ended container is not an error.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal) error { return errUnbuilt }

// Forget drops an ended container: its FIFOs are closed and removed. ErrNotFound for an unknown id, ErrBusy while it runs.
func (c *Client) Forget(ctx context.Context, id string) error { return errUnbuilt }

// List returns all that the keeper holds.
func (c *Client) List(ctx context.Context) (State, error) { return State{}, errUnbuilt }

// Adopt takes over a running process. ErrNotFound when it is gone (or its number belongs to another process by now).
func (c *Client) Adopt(ctx context.Context, r AdoptRequest) error { return errUnbuilt }

// Mount mounts a tmpfs at a directory below the run directory (made when missing), in the keeper's own mount namespace, where every
// container's own begins. options are those of mount -o: "size=65536k,mode=1777".
func (c *Client) Mount(ctx context.Context, path, options string) error { return errUnbuilt }

// Unmount detaches what Mount mounted. It is not an error when nothing is mounted there.
func (c *Client) Unmount(ctx context.Context, path string) error { return errUnbuilt }

// JoinCgroups makes the keeper write itself to these `cgroup.procs` files.
func (c *Client) JoinCgroups(ctx context.Context, files []string) error { return errUnbuilt }

// Upgrade makes the keeper execute another binary in place. Its pid, children and containers stay; the connection ends: dial again.
func (c *Client) Upgrade(ctx context.Context, binary string) error { return errUnbuilt }

// Shutdown ends the keeper. ErrBusy while containers run, unless forced: then they are killed first.
func (c *Client) Shutdown(ctx context.Context, force bool) error { return errUnbuilt }

// Process is a process of Exec.
type Process struct {
	PID int
	// PTY is the master of its terminal, nil without TTY. The caller closes it.
	PTY *os.File
}

// Wait returns how the process ended. ErrKeeperGone when that cannot be known any more.
func (p *Process) Wait(ctx context.Context) (ExitStatus, error) { return ExitStatus{}, errUnbuilt }

// Signal sends a signal to the process. An ended process is not an error.
func (p *Process) Signal(ctx context.Context, sig syscall.Signal) error { return errUnbuilt }

// ReadExit reads the exit record that a keeper left in a file. An error that is fs.ErrNotExist means that there is none yet.
func ReadExit(path string) (Exit, error) { return Exit{}, errUnbuilt }
