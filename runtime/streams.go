package runtime

import (
	"context"
	"io"
	"net"
)

// Attacher connects to the streams of running containers.
type Attacher interface {
	// Attach hands on what a container writes from now on, and to it what comes from Stdin. It returns nil when that attempt of the container
	// has ended and all it has written is handed on, and the error of ctx when that ends first. A container that does not run is ErrNotFound.
	// While a reader takes nothing, the container waits with its output.
	Attach(ctx context.Context, uid, name string, cfg AttachConfig) error
}

// AttachConfig are the streams of an Attach; nil for those that are not wanted.
type AttachConfig struct {
	// Stdin is only read when the container has a standard input. Its end is the container's when that has StdinOnce.
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer // unused with TTY
	// Resize delivers terminal sizes until it is closed; nil for none.
	Resize <-chan Size
}

// Forwarder reaches what listens inside pods.
type Forwarder interface {
	// Forward opens a connection inside a pod's own network to a port of its loopback address, where also what listens on all addresses is
	// reached. A pod that the machine does not have is ErrNotFound.
	Forward(ctx context.Context, uid, network string, port uint16) (net.Conn, error)
}
