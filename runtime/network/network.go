// Package network gives pods addresses on a bridge of the instance's own and keeps the packets of one pod from passing for another's.
//
// Everything is derived: the name and MAC of a pod's interface come from its address, and the packet filter (package nft) holds all addresses
// of the range from the beginning. So attaching a pod is two rtnetlink requests and nothing else (package link), and detaching it is nothing
// at all: the interface ends with the pod's network namespace. Where pods have IPv6 (Config.IPv6) it is derived, too: their address is at the place in a
// second range that the one of IPv4 has in the first.
package network

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"

	"berth/runtime/network/ipam"
	"berth/runtime/network/link"
	"berth/runtime/network/nft"
)

// Config names an instance.
type Config struct {
	// ID is the instance's: 8 hex digits.
	ID string
	// StateDir is where the chosen ranges are kept.
	StateDir string
	// PodCIDR is the range of the pods; the zero value lets Open choose one that is free, and keep it.
	PodCIDR netip.Prefix
	// ServiceCIDR is the range of the Services, likewise.
	ServiceCIDR netip.Prefix
	// IPv6 gives pods and Services IPv6 beside IPv4, of the ranges PodCIDR6 and ServiceCIDR6, likewise. Without it what an earlier run made of it is taken
	// away.
	IPv6                   bool
	PodCIDR6, ServiceCIDR6 netip.Prefix
	// IPv6AsKept leaves all of that as an earlier run was told.
	IPv6AsKept bool
	// AllowFirewall lets Run put rules into chains of others that cut paths of pods, tagged with the name of the instance's table. Without it
	// Run takes such rules away again.
	AllowFirewall bool
}

var validID = regexp.MustCompile(`^[0-9a-f]{8}$`)

func (c Config) bridge() string { return "br-" + c.ID }
func (c Config) table() string  { return "berth-" + c.ID }

// services is the name of the table that directs connections: it changes with the Services, and outlives a start of berth as it is.
func (c Config) services() string { return c.table() + "-services" }

// policies is the name of the table that judges connections of pods: it is there while some are restricted, likewise.
func (c Config) policies() string { return c.table() + "-policies" }

// prefix is how the names of all pod interfaces of the instance begin, on the machine's side; the address's place in the range follows.
func (c Config) prefix() string { return "bt" + c.ID }

// Network is the pod network of one instance. It is safe for concurrent use.
type Network struct {
	cfg         Config
	pool        *ipam.Pool
	serviceCIDR netip.Prefix
	// podCIDR6 and serviceCIDR6 are zero when pods have no IPv6.
	podCIDR6, serviceCIDR6 netip.Prefix

	socket *link.Socket
	watch  *link.Watch
	filter *nft.Filter
	mtu    int
	ipv6   bool // the kernel has it

	// bridge is the index of the bridge: another one when somebody has removed it.
	bridge atomic.Int32
	// attaching is held for reading while a pod's interface is being made, and for writing while it is looked at which are not where they belong.
	attaching sync.RWMutex
	// kept is what is in the state directory; attaching guards it.
	kept state
	// mendEvery is how often it is looked, at most, what others have changed.
	mendEvery time.Duration

	// forgetting is held while the kernel forgets connections.
	forgetting         sync.Mutex
	strangersForgotten bool

	mu       sync.Mutex
	warnings []string
	// cut says which paths of pods a firewall cuts, quarrel what somebody changes again and again.
	cut, quarrel []string
	// dns is where the DNS of the cluster listens.
	dns netip.AddrPort
	// dirty are addresses that a pod has given back and that the kernel may still remember connections of.
	dirty map[netip.Addr]bool
	// released wakes Run when there are new ones, rerouted when there is a path that has not been tested.
	released, rerouted chan struct{}
}

// Open makes the bridge, its address and the packet filter, or takes back what an earlier run left. Close it when the process ends: that
// leaves the network as it is.
func Open(ctx context.Context, cfg Config) (_ *Network, err error) {
	if !validID.MatchString(cfg.ID) {
		return nil, fmt.Errorf("cannot use %q as the id of an instance: it is not 8 hex digits", cfg.ID)
	}
	unlock, err := lockMachine(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	kept, err := readState(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	if cfg.IPv6AsKept {
		cfg.IPv6, cfg.PodCIDR6, cfg.ServiceCIDR6 = kept.IPv6, netip.Prefix{}, netip.Prefix{}
	}
	found, err := survey(cfg)
	if err != nil && cfg.IPv6 && cfg.IPv6AsKept { // nobody asks for it now: what is to be taken down can be, though the machine has lost it
		cfg.IPv6 = false
		found, err = survey(cfg)
	}
	if err != nil {
		return nil, err
	}
	now, err := decideRanges(cfg, kept, found)
	if err != nil {
		return nil, err
	}
	if now != kept {
		if err := writeState(cfg.StateDir, now); err != nil {
			return nil, err
		}
	}
	pool, err := ipam.New(now.PodCIDR, rand.Uint32())
	if err != nil {
		return nil, err
	}
	n := &Network{
		cfg: cfg, pool: pool, serviceCIDR: now.ServiceCIDR, kept: now, mtu: found.mtu, ipv6: haveIPv6(found.mtu), mendEvery: mendEvery,
		dirty: map[netip.Addr]bool{}, released: make(chan struct{}, 1), rerouted: make(chan struct{}, 1),
	}
	ranges := []netip.Prefix{now.PodCIDR, now.ServiceCIDR}
	if now.IPv6 {
		n.podCIDR6, n.serviceCIDR6 = now.PodCIDR6, now.ServiceCIDR6
		ranges = append(ranges, now.PodCIDR6, now.ServiceCIDR6)
	}
	if n.watch, err = link.OpenWatch(ranges...); err != nil { // before anything is made: no change is missed
		return nil, err
	}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.watch.Close())
	}
	return n, nil
}

func (n *Network) open() error {
	if err := n.ensureLinks(); err != nil {
		return err
	}
	if err := n.ensureFilter(); err != nil {
		return err
	}
	var err error
	if n.socket, err = link.Open(); err != nil {
		return errors.Join(err, n.filter.Close())
	}
	return nil
}

func (n *Network) ensureFilter() error {
	rules := nft.Rules{
		Table: n.cfg.table(), Services: n.cfg.services(), Policies: n.cfg.policies(), Bridge: n.cfg.bridge(), GatewayMAC: macOf(n.pool.Gateway()),
		Prefix: n.cfg.prefix(), Pods: n.pool.Prefix(), ServiceRange: n.serviceCIDR, ClusterDNS: n.ClusterDNS(),
		Pods6: n.podCIDR6, ServiceRange6: n.serviceCIDR6,
	}
	for _, addr := range n.pool.Addresses() {
		rules.Ports = append(rules.Ports, nft.Port{Link: n.linkName(addr), MAC: macOf(addr), Address: addr, Address6: n.Address6(addr)})
	}
	var err error
	n.filter, err = nft.Open(rules)
	if errors.Is(err, nft.ErrNoBridge) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.warnings = append(n.warnings, err.Error()+": a pod with CAP_NET_RAW can send packets in the name of another pod")
		return nil
	}
	return err
}

// Gateway is the machine's address on the bridge.
func (n *Network) Gateway() netip.Addr { return n.pool.Gateway() }

// PodCIDR is the range that pods get addresses from.
func (n *Network) PodCIDR() netip.Prefix { return n.pool.Prefix() }

// ServiceCIDR is the range that Services get addresses from.
func (n *Network) ServiceCIDR() netip.Prefix { return n.serviceCIDR }

// ClusterDNS is the address in the range of the Services that answers for their names.
func (n *Network) ClusterDNS() netip.Addr { return place(n.serviceCIDR, dnsPlace) }

// Bridge is the name of the bridge.
func (n *Network) Bridge() string { return n.cfg.bridge() }

// Warnings say what this machine cannot enforce, or does not let through, and what follows from it. They change while Run works.
func (n *Network) Warnings() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Concat(n.warnings, n.cut, n.quarrel)
}

func (n *Network) setQuarrel(warning string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.quarrel = nil; warning != "" {
		n.quarrel = []string{warning}
	}
}

// Allocate returns the pod's address, choosing one that has not been used for the longest time when it has none. Nothing that the kernel
// remembers of who had it before is left.
func (n *Network) Allocate(uid string) (netip.Addr, error) {
	if err := n.forgetStrangers(); err != nil {
		return netip.Addr{}, err
	}
	addr, err := n.pool.Allocate(uid)
	if err != nil {
		return addr, err
	}
	return addr, n.forgetReleased(addr)
}

// Reserve records that the pod has this address already: adoption after a restart. It is called for all pods before the first Allocate.
func (n *Network) Reserve(uid string, addr netip.Addr) error {
	if err := n.pool.Reserve(uid, addr); err != nil || !n.podCIDR6.IsValid() {
		return err
	}
	return n.socket.AddNeighbour(n.neighbour(addr)) // the bridge may be a new one
}

// Release gives the pod's address back. A pod without one is not an error.
func (n *Network) Release(uid string) {
	addr, ok := n.pool.Release(uid)
	if !ok {
		return
	}
	if n.podCIDR6.IsValid() {
		_ = n.socket.DeleteNeighbour(n.neighbour(addr)) // else who asks for the address waits for an answer, until the next pod has it
	}
	n.mu.Lock()
	n.dirty[addr] = true
	n.mu.Unlock()
	wake(n.released)
}

// Attach puts eth0 with this address and a default route into a network namespace, and the same of IPv6 unless addr6 is zero. The address is the one that
// Allocate gave or Reserve took for the pod, addr6 is its Address6. It does not touch the loopback interface. The interface lives as long as the namespace: there is no Detach. When Attach fails
// it has left nothing.
func (n *Network) Attach(ctx context.Context, netns *os.File, uid string, addr, addr6 netip.Addr) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if holder := n.pool.Holder(addr); holder != uid {
		return fmt.Errorf("cannot attach pod %s with address %s: it is %q's", uid, addr, holder)
	}
	veth := link.Veth{
		Name: n.linkName(addr), MTU: n.mtu, MAC: macOf(addr), IPv6: n.ipv6,
		Address: addr, Gateway: n.pool.Gateway(), GatewayMAC: macOf(n.pool.Gateway()), Near: []netip.Prefix{n.pool.Prefix(), n.serviceCIDR},
	}
	if addr6.IsValid() {
		if addr6 != n.Address6(addr) {
			return fmt.Errorf("cannot attach pod %s with address %s: that does not go with %s", uid, addr6, addr)
		}
		veth.Address6, veth.Gateway6, veth.Near6 = addr6, n.Gateway6(), []netip.Prefix{n.podCIDR6, n.serviceCIDR6}
	}
	n.attaching.RLock()
	defer n.attaching.RUnlock()
	veth.Bridge = int(n.bridge.Load())
	if err := n.socket.Attach(netns, veth); err != nil {
		return fmt.Errorf("cannot attach pod %s to the network: %w", uid, err)
	}
	return nil
}

// Rejoin puts the interfaces of the pods that hold addresses on the bridge again, when somebody has removed the one that they were on, or taken them off.
func (n *Network) Rejoin(ctx context.Context) error {
	n.attaching.Lock()
	defer n.attaching.Unlock()
	return n.rejoin(ctx)
}

// Close lets go of the kernel's sockets. The network stays.
func (n *Network) Close() error {
	return errors.Join(n.socket.Close(), n.filter.Close(), n.watch.Close())
}

// linkName is the machine's end of the interface of the pod with this address.
func (n *Network) linkName(addr netip.Addr) string {
	offset, _ := n.pool.Offset(addr)
	return fmt.Sprintf("%s%04x", n.cfg.prefix(), offset)
}

// macOf is the MAC that belongs to an address: as one never changes without the other, no neighbour ever remembers a wrong one.
func macOf(addr netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x0a, 0x58}, addr.AsSlice()...)
}

func linkByName(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up interface %s: %w", name, err)
	}
	return l, nil
}
