package native

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	goruntime "runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/runtime"
)

var _ runtime.Forwarder = (*Runtime)(nil)

// Forward implements runtime.Forwarder.
func (r *Runtime) Forward(ctx context.Context, uid, network string, port uint16) (net.Conn, error) {
	conn, err := r.forward(ctx, uid, network, port)
	if err != nil {
		return nil, fmt.Errorf("cannot reach port %d of pod %s: %w", port, uid, err)
	}
	return conn, nil
}

func (r *Runtime) forward(ctx context.Context, uid, network string, port uint16) (conn net.Conn, err error) {
	r.settle(uid)
	p := r.pod(uid)
	if p == nil {
		return nil, notFound("pod")
	}
	r.mu.Lock()
	own := !p.Config.HostNetwork
	r.mu.Unlock()
	dial := func() error {
		conn, err = dialLoopback(ctx, network, port)
		return err
	}
	if !own {
		return conn, dial()
	}
	ns, err := r.client().SandboxNetNS(ctx, uid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	return conn, inNetwork(ns, dial)
}

// dialLoopback tries what listens by the old protocol, and then by the new.
func dialLoopback(ctx context.Context, network string, port uint16) (net.Conn, error) {
	var d net.Dialer
	// A literal address is dialled by this very goroutine, so the socket is of this thread's namespace.
	conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if errors.Is(err, syscall.ECONNREFUSED) {
		if six, err := d.DialContext(ctx, network, net.JoinHostPort("::1", strconv.Itoa(int(port)))); err == nil {
			return six, nil
		}
	}
	return conn, err
}

// inNetwork calls f on a thread in another network namespace. A thread that does not find back is thrown away.
func inNetwork(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			goruntime.UnlockOSThread()
			done <- err
			return
		}
		defer func() { _ = unix.Close(home) }()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			goruntime.UnlockOSThread()
			done <- err
			return
		}
		err = f()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			goruntime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
