// Package nft writes the packet filter of one instance: tables of its own, changed in one step, and never a rule of anybody else's.
//
//	table ip berth-ID
//	  prerouting   from the bridge: a source that is no pod's, the machine's 127/8 and link-local addresses (a cloud's metadata) but for DNS → drop
//	  tracked      from the bridge: what belongs to no connection that the kernel knows, and would not be translated back → drop
//	  forward      to the bridge from elsewhere: only answers, and what was sent to an external address of a Service
//	  output       to the bridge: no advice to send to a neighbour directly (ICMP redirects) → drop
//	  clients      to the bridge with runtime.ClientMark: the source becomes the address that is the packet's priority
//	  postrouting  from pods to elsewhere: masquerade
//	table bridge berth-ID
//	  prerouting   from a pod's interface: IPv4 and ARP with exactly the MAC and address that belong to this interface; the rest → drop
//	table ip berth-ID-services
//	  prerouting, output   to a port of a Service: to one of its backends (see Services)
//	  postrouting          from a pod to itself by way of a Service: masquerade
//	  refuse-*             to a Service that has no backend or not this port → reset, port unreachable
//	tables ip and bridge berth-ID-policies, while some pod is restricted (see SetPolicies)
//
// Where pods have IPv6 there is a table of family ip6 beside each of family ip, with the same but the clients, and that of family bridge lets IPv6
// pass, too: with exactly the MAC and address, and nothing of neighbour discovery.
package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// Rules say what to write.
type Rules struct {
	// Table is the name of the tables that never change while berth runs, Services that of the one that directs connections.
	// Policies that of the one that judges connections of pods.
	Table, Services, Policies string
	// Bridge is the instance's bridge with the machine's GatewayMAC, Pods its range, ServiceRange that of the Services, in which ClusterDNS is.
	Bridge             string
	GatewayMAC         net.HardwareAddr
	ClusterDNS         netip.Addr
	Pods, ServiceRange netip.Prefix
	// Pods6 and ServiceRange6 are those of IPv6; zero where pods have none.
	Pods6, ServiceRange6 netip.Prefix
	// Prefix is how the names of all pod interfaces begin; Ports are those that can exist.
	Prefix string
	Ports  []Port
}

// Port is the identity of one pod interface.
type Port struct {
	Link    string
	MAC     net.HardwareAddr
	Address netip.Addr
	// Address6 is that of IPv6; zero where pods have none.
	Address6 netip.Addr
}

// ErrNoBridge says that this kernel cannot filter what passes from pod to pod: the table of family bridge was left out.
var ErrNoBridge = errors.New("the kernel has no nftables for bridges (CONFIG_NF_TABLES_BRIDGE)")

// sendBuffer holds the largest batch: 1,000 Services of 10 backends are 0.8 MB, as much again are deletions.
const sendBuffer = 8 << 20

// receiveBuffer holds the kernel's answers to the messages of a batch, which it writes before any is read: each takes about 1 KiB. A chain with its
// rules or a set with its elements is some four messages.
const receiveBuffer = 64 << 20

// Filter writes the tables of one instance. It is safe for concurrent use.
type Filter struct {
	rules   Rules
	changes *netlink.Conn // what the kernel tells of the packet filter
	closed  atomic.Bool

	mu   sync.Mutex
	conn *nftables.Conn // nil: to be opened
	// port is the address of conn's socket, which the kernel names in what it tells of changes.
	port uint32
	// sides are one for each family that pods have.
	sides []*side
}

// Open replaces the tables but that of the Services, which stays as an earlier run left it until SetServices. ErrNoBridge means that the
// table of family bridge could not be made; the Filter works without.
func Open(r Rules) (*Filter, error) {
	f := &Filter{rules: r, sides: r.sides()}
	if err := errors.Join(f.dial(), f.subscribe()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !r.Pods6.IsValid() { // an earlier run may have been told to have it
		if err := f.remove(nftables.TableFamilyIPv6, r.Table, r.Services, r.Policies); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	err := f.Apply()
	if err != nil && !errors.Is(err, ErrNoBridge) {
		return nil, errors.Join(err, f.Close())
	}
	return f, err
}

// Apply replaces the tables but that of the Services, atomically.
func (f *Filter) Apply() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.rules
	addSides := func(c *nftables.Conn) {
		for _, s := range f.sides {
			addIP(c, r, s)
		}
	}
	err := f.flush(func(c *nftables.Conn) {
		addSides(c)
		addBridge(c, replace(c, nftables.TableFamilyBridge, r.Table), r)
	})
	if err == nil {
		return nil
	}
	if alone := f.flush(addSides); alone == nil {
		if bridge := f.flush(func(c *nftables.Conn) { replace(c, nftables.TableFamilyBridge, r.Table) }); bridge != nil {
			return ErrNoBridge
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("cannot write the packet filter: the kernel has no nf_tables: %w", runtime.ErrNotSupported)
	}
	return fmt.Errorf("cannot write the packet filter: %w", err)
}

// Close lets go of the kernel's sockets; the tables stay.
func (f *Filter) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	if f.conn != nil {
		errs = append(errs, f.conn.CloseLasting())
		f.conn = nil
	}
	if f.changes != nil && !f.closed.Swap(true) {
		errs = append(errs, f.changes.Close())
	}
	return errors.Join(errs...)
}

// Remove removes the tables of these names. What is not there is not an error.
func Remove(tables ...string) error {
	f := Filter{}
	defer func() { _ = f.Close() }()
	var errs []error
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyBridge} {
		errs = append(errs, f.remove(family, tables...))
	}
	return errors.Join(errs...)
}

func (f *Filter) remove(family nftables.TableFamily, tables ...string) error {
	var errs []error
	for _, table := range tables {
		err := f.flush(func(c *nftables.Conn) { c.DelTable(&nftables.Table{Name: table, Family: family}) })
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, fmt.Errorf("cannot remove nft table %s: %w", table, err))
		}
	}
	return errors.Join(errs...)
}

// replace removes a table and makes it anew in the same batch; adding it first makes the removal possible in any case.
func replace(c *nftables.Conn, family nftables.TableFamily, name string) *nftables.Table {
	t := &nftables.Table{Name: name, Family: family}
	c.AddTable(t)
	c.DelTable(t)
	return c.AddTable(t)
}

// flush sends what fill adds as one batch, which the kernel takes as a whole or not at all.
func (f *Filter) flush(fill func(c *nftables.Conn)) error {
	if err := f.dial(); err != nil {
		return err
	}
	fill(f.conn)
	err := f.conn.Flush()
	if err != nil {
		// Answers that nobody read would be taken for those to the next batch.
		err = errors.Join(err, f.conn.CloseLasting())
		f.conn = nil
	}
	return err
}

func (f *Filter) dial() (err error) {
	if f.conn != nil {
		return nil
	}
	f.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(f.setUp))
	return err
}

func (f *Filter) setUp(conn *netlink.Conn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Control(func(fd uintptr) {
		if name, err := unix.Getsockname(int(fd)); err == nil {
			if nl, ok := name.(*unix.SockaddrNetlink); ok {
				f.port = nl.Pid
			}
		}
	})
	return errors.Join(err, conn.SetWriteBuffer(sendBuffer), conn.SetReadBuffer(receiveBuffer))
}
