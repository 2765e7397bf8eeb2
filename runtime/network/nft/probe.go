package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Path is a way packets of a pod take.
type Path struct {
	// Name says what it is for: "pod to pod".
	Name string
	// To is where a datagram is sent.
	To netip.AddrPort
	// Here says that it ends on this machine (the input hook), not behind it (forward).
	Here bool
}

// Cut is where a path ends too early.
type Cut struct {
	Path Path
	// Family ("ip", "ip6", "inet"), Table and Chain have dropped the packet; all "" when no chain of nftables did. Base is the chain at the hook by
	// which it came there, which is Chain itself or one before it.
	Family, Table, Chain, Base string
	// Policy says that no rule dropped it: nothing let it pass.
	Policy bool
}

// Probe sends a datagram from an address over each path, of the same family, and sees how far it comes, without letting it leave the machine: a table of its own
// counts it where nobody is left who could stop it, and drops it there. The kernel tells by its tracing who stopped it before.
func (f *Filter) Probe(from netip.Addr, paths []Path, send func(netip.AddrPort) error) ([]Cut, error) {
	traces, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot trace packets: %w", err)
	}
	defer func() { _ = traces.Close() }()
	if err := traces.JoinGroup(unix.NFNLGRP_NFTRACE); err != nil {
		return nil, fmt.Errorf("cannot trace packets: %w", err)
	}
	of := ipv4
	if from.Is6() {
		of = ipv6
	}
	table := &nftables.Table{Name: f.rules.Table + "-probe", Family: of.table}
	counters := make([]*nftables.Chain, len(paths))
	f.mu.Lock()
	err = f.flush(func(c *nftables.Conn) {
		replace(c, table.Family, table.Name)
		of.addProbes(c, table, from, paths, counters)
	})
	f.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("cannot write the table of the self-test: %w", err)
	}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		_ = f.flush(func(c *nftables.Conn) { c.DelTable(table) }) // what is left is replaced the next time, or removed at the end
	}()
	var cuts []Cut
	for i, p := range paths {
		w := &watch{family: of, traces: traces, own: table.Name, from: from, to: p.To.Addr(), ours: map[uint32]bool{}}
		passed, err := w.passes(counters[i], func() error { return send(p.To) })
		if err != nil {
			return nil, err
		}
		if !passed {
			cut := w.cut
			cut.Path, cut.Base = p, base(cut, p.Here)
			cuts = append(cuts, cut)
		}
	}
	return cuts, nil
}

// tries and patience bound how long a path is tried before it counts as cut. A packet takes microseconds unless the machine is very busy, and who has dropped it
// is told as soon: a try waits only where nobody of nftables did.
const (
	tries    = 6
	patience = 250 * time.Millisecond
)

func (f family) addProbes(c *nftables.Conn, t *nftables.Table, from netip.Addr, paths []Path, counters []*nftables.Chain) {
	first, last := *nftables.ChainPriorityRaw-1, nftables.ChainPriority(300)
	pre := c.AddChain(&nftables.Chain{Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &first})
	source := within(f.source, expr.CmpOpEq, netip.PrefixFrom(from, from.BitLen()))
	c.AddRule(&nftables.Rule{Table: t, Chain: pre, Exprs: join(source, []expr.Any{
		&expr.Immediate{Register: metaReg, Data: []byte{1}}, &expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: metaReg},
	})})
	in := c.AddChain(&nftables.Chain{Name: "input", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: &last})
	// Before the address is changed to the machine's.
	post := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityFilter,
	})
	for i, p := range paths {
		hook := post
		if p.Here {
			hook = in
		}
		counters[i] = c.AddChain(&nftables.Chain{Name: fmt.Sprint("path-", i), Table: t})
		c.AddRule(&nftables.Rule{Table: t, Chain: counters[i], Exprs: drop()})
		to := within(f.destination, expr.CmpOpEq, netip.PrefixFrom(p.To.Addr(), p.To.Addr().BitLen()))
		port := append(transport(unix.IPPROTO_UDP), payload(expr.PayloadBaseTransportHeader, offsetPort, 2, metaReg),
			&expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: []byte{byte(p.To.Port() >> 8), byte(p.To.Port())}})
		c.AddRule(&nftables.Rule{Table: t, Chain: hook, Exprs: join(source, to, port, goTo(counters[i].Name))})
	}
}

// watch looks at what becomes of the packets from one address to another.
type watch struct {
	family
	traces   *netlink.Conn
	own      string // the table that counts and drops them at the end of their way
	from, to netip.Addr
	ours     map[uint32]bool
	// cut is who dropped the last one that somebody else did.
	cut Cut
}

func (w *watch) passes(counter *nftables.Chain, send func() error) (bool, error) {
	for range tries {
		if err := send(); err != nil {
			return false, err
		}
		dropped := false
		for wait, waited := time.Millisecond, time.Duration(0); waited < patience && !dropped; wait *= 2 {
			if passed, err := counted(counter); passed || err != nil {
				return passed, err
			}
			dropped = w.drops(wait)
			waited += wait
		}
	}
	return false, nil
}

func counted(counter *nftables.Chain) (bool, error) {
	rules, err := (&nftables.Conn{}).GetRules(counter.Table, counter)
	if err != nil {
		return false, fmt.Errorf("cannot read the table of the self-test: %w", err)
	}
	for _, r := range rules {
		for _, e := range r.Exprs {
			if c, ok := e.(*expr.Counter); ok && c.Packets > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// drops reads what the kernel tells of the packets until somebody else has dropped one, or for so long.
func (w *watch) drops(wait time.Duration) bool {
	_ = w.traces.SetReadDeadline(time.Now().Add(wait)) //nolint:forbidigo // how long to wait for the kernel; nothing is decided by it
	for {
		messages, err := w.traces.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return false
		}
		dropped := false
		for _, m := range messages {
			if t, ok := parseTrace(m); ok && w.dropped(t) {
				dropped = true
				w.cut = Cut{Family: t.family, Table: t.table, Chain: t.chain, Policy: t.policy}
			}
		}
		if dropped {
			return true
		}
	}
}

// dropped tells whether a step of a packet is the end of one of those that are looked for.
func (w *watch) dropped(t trace) bool {
	if end := w.destination + w.size; uint32(len(t.header)) >= end && slices.Equal(t.header[w.source:w.destination], w.from.AsSlice()) {
		w.ours[t.id] = slices.Equal(t.header[w.destination:end], w.to.AsSlice())
	}
	return t.dropped && w.ours[t.id] && t.table != w.own
}

// base is the chain at the hook of the path in the table that cuts it; "" when it is cut at another hook.
func base(cut Cut, here bool) string {
	hook := *nftables.ChainHookForward
	if here {
		hook = *nftables.ChainHookInput
	}
	chains, err := (&nftables.Conn{}).ListChainsOfTableFamily(families[cut.Family])
	if err != nil {
		return ""
	}
	name := ""
	for _, c := range chains {
		if c.Table.Name == cut.Table && c.Hooknum != nil && *c.Hooknum == hook && (name == "" || c.Name == cut.Chain) {
			name = c.Name
		}
	}
	return name
}

var families = map[string]nftables.TableFamily{"ip": nftables.TableFamilyIPv4, "ip6": nftables.TableFamilyIPv6, "inet": nftables.TableFamilyINet}

// trace is one step of a packet through the rules.
type trace struct {
	id                   uint32
	family, table, chain string
	header               []byte // the packet's, in the first step of each chain
	dropped, policy      bool
}

func parseTrace(m netlink.Message) (trace, bool) {
	if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_TRACE || len(m.Data) < 4 {
		return trace{}, false
	}
	t := trace{family: map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet", unix.NFPROTO_BRIDGE: "bridge"}[m.Data[0]]}
	attrs, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return t, false
	}
	attrs.ByteOrder = binary.BigEndian
	const drop = 0 // NF_DROP
	for attrs.Next() {
		switch attrs.Type() {
		case unix.NFTA_TRACE_ID:
			t.id = attrs.Uint32()
		case unix.NFTA_TRACE_TABLE:
			t.table = attrs.String()
		case unix.NFTA_TRACE_CHAIN:
			t.chain = attrs.String()
		case unix.NFTA_TRACE_NETWORK_HEADER:
			t.header = attrs.Bytes()
		case unix.NFTA_TRACE_POLICY:
			t.policy = true
			t.dropped = attrs.Uint32() == drop
		case unix.NFTA_TRACE_VERDICT:
			attrs.Nested(func(v *netlink.AttributeDecoder) error {
				v.ByteOrder = binary.BigEndian
				for v.Next() {
					if v.Type() == unix.NFTA_VERDICT_CODE {
						t.dropped = v.Uint32() == drop
					}
				}
				return nil
			})
		}
	}
	return t, attrs.Err() == nil
}
