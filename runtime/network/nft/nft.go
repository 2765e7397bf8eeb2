// Package nft writes the packet filter of one instance: two tables of its own, each replaced as a whole, and never a rule of anybody else's.
//
//	table ip berth-ID
//	  prerouting   from the bridge: a source that is no pod's, the machine's 127/8 and link-local addresses (a cloud's metadata) but for DNS → drop
//	  forward      to the bridge from elsewhere: only answers
//	  postrouting  from pods to elsewhere: masquerade
//	table bridge berth-ID
//	  prerouting   from a pod's interface: IPv4 and ARP with exactly the MAC and address that belong to this interface; the rest → drop
package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// Rules say what to write.
type Rules struct {
	// Table is the name of both tables.
	Table string
	// Bridge is the instance's bridge, Pods its range.
	Bridge string
	Pods   netip.Prefix
	// Prefix is how the names of all pod interfaces begin; Ports are those that can exist.
	Prefix string
	Ports  []Port
}

// Port is the identity of one pod interface.
type Port struct {
	Link    string
	MAC     net.HardwareAddr
	Address netip.Addr
}

// ErrNoBridge says that this kernel cannot filter what passes from pod to pod: the table of family bridge was left out.
var ErrNoBridge = errors.New("the kernel has no nftables for bridges (CONFIG_NF_TABLES_BRIDGE)")

// sendBuffer holds the largest batch: some 4000 ports of 60 bytes, and room to grow.
const sendBuffer = 4 << 20

// Apply replaces both tables, atomically. ErrNoBridge means that only the first could be.
func Apply(r Rules) error {
	err := flush(func(c *nftables.Conn) {
		addIP(c, replace(c, nftables.TableFamilyIPv4, r.Table), r)
		addBridge(c, replace(c, nftables.TableFamilyBridge, r.Table), r)
	})
	if err == nil {
		return nil
	}
	if alone := flush(func(c *nftables.Conn) { addIP(c, replace(c, nftables.TableFamilyIPv4, r.Table), r) }); alone == nil {
		if bridge := flush(func(c *nftables.Conn) { replace(c, nftables.TableFamilyBridge, r.Table) }); bridge != nil {
			return ErrNoBridge
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return fmt.Errorf("cannot write the packet filter: the kernel has no nf_tables: %w", runtime.ErrNotSupported)
	}
	return fmt.Errorf("cannot write the packet filter: %w", err)
}

// Remove removes both tables. What is not there is not an error.
func Remove(table string) error {
	var errs []error
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyBridge} {
		err := flush(func(c *nftables.Conn) { c.DelTable(&nftables.Table{Name: table, Family: family}) })
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

func flush(fill func(c *nftables.Conn)) error {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(conn *netlink.Conn) error { return conn.SetWriteBuffer(sendBuffer) }))
	if err != nil {
		return err
	}
	fill(c)
	return errors.Join(c.Flush(), c.CloseLasting())
}
