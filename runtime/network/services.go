package network

import (
	"context"
	"errors"
	"net/netip"

	"berth/runtime"
)

// SetServices makes the kernel send new connections to the addresses of these Services to their backends, and to nobody else, and what is
// sent to ClusterDNS to dns, unless that is zero. When it returns that is so. Open connections stay where they are. What goes by UDP to a
// backend that left, and what nobody there has answered yet, goes to another one with its next packet, also if the backend left while no berth
// ran. Until the first call what an earlier run has set holds.
func (n *Network) SetServices(ctx context.Context, services []runtime.Service, dns netip.AddrPort) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n.mu.Lock()
	moved := n.dns != dns
	n.dns = dns
	n.mu.Unlock()
	if moved {
		wake(n.rerouted)
	}
	stale, err := n.filter.SetServices(services, n.ClusterDNS(), dns)
	return errors.Join(err, forgetStale(stale))
}

func wake(sleeper chan<- struct{}) {
	select {
	case sleeper <- struct{}{}:
	default:
	}
}
