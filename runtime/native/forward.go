package native

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"berth/runtime"
	"berth/runtime/internal/sys"
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
	if !own {
		return dialLoopback(ctx, network, port)
	}
	ns, err := r.client().SandboxNetNS(ctx, uid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	err = sys.Away(func() error {
		if err := sys.EnterNetNS(ns); err != nil {
			return err
		}
		conn, err = dialLoopback(ctx, network, port)
		return err
	})
	return conn, err
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
