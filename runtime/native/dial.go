package native

import (
	"context"
	"fmt"
	"net"

	"berth/runtime"
)

var _ runtime.Dialer = (*Runtime)(nil)

// Dial implements runtime.Dialer. Pods stand on a bridge of this machine, so an ordinary connection reaches them; no namespace is entered.
func (r *Runtime) Dial(ctx context.Context, uid, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("cannot dial %s: %w", addr, err)
	}
	if host == "" {
		if host, err = r.addressOf(uid); err != nil {
			return nil, err
		}
		addr = net.JoinHostPort(host, port)
	} else if r.pod(uid) == nil {
		return nil, notFound("pod %s", uid)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr) // its own error has all there is to say
}

// addressOf is where a pod is reached from the machine.
func (r *Runtime) addressOf(uid string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[uid]
	switch {
	case p == nil:
		return "", notFound("pod %s", uid)
	case p.Config.HostNetwork:
		return "127.0.0.1", nil
	case p.IP == "":
		return "", fmt.Errorf("cannot reach pod %s: it has no address: %w", uid, runtime.ErrNotSupported)
	}
	return p.IP, nil
}
