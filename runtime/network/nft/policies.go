package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// What pods may connect to, and by whom they may be connected to, is asked once for each connection, where it is known which pod it is led to:
// behind the translation of addresses, before the way is chosen. A map leads a restricted pod's address to the chain of its group, which returns for
// what is allowed and drops the rest. The table exists only while some pod is restricted.
//
//	table ip berth-ID-policies
//	  names        from the bridge to the DNS of the cluster, before it becomes an address of the machine: outgoing
//	  prerouting   connections that are open and pods that mean themselves: pass; from the bridge: outgoing; to whomever: incoming
//	  egress-*     of a group: return what is allowed → drop
//	  ingress-*    likewise
//	table bridge berth-ID-policies
//	  prerouting   from a pod's interface past the machine → drop
//
// Where pods have IPv6 a table of family ip6 has the same, without names: the DNS of the cluster has an address of IPv4. Packets of the machine itself do not
// come by.
const outgoingMap, incomingMap, itselfSet = "outgoing", "incoming", "itself"

// SetPolicies judges new connections of pods by these policies. When it returns the kernel does so.
func (f *Filter) SetPolicies(p runtime.Policies) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := make([]*policyTable, len(f.sides))
	for i, s := range f.sides {
		now[i] = computePolicies(p, s.family)
	}
	return f.writePolicies(now)
}

// restorePolicies writes the tables of the policies anew when they have been written before.
func (f *Filter) restorePolicies() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first := f.sides[0].policies; first == nil || first.empty() { // and so are the others
		return nil
	}
	now := make([]*policyTable, len(f.sides))
	for i, s := range f.sides {
		now[i], s.policies = s.policies, nil
	}
	return f.writePolicies(now)
}

// writePolicies makes the tables, one for each side, what they have to be: by what changed, or, where that is not known or does not work, as a whole.
// It is one batch: never is one family judged by the new policies and the other by the old.
func (f *Filter) writePolicies(now []*policyTable) error {
	old, known := make([]*policyTable, len(now)), true
	for i, s := range f.sides {
		old[i], s.policies = s.policies, nil
		known = known && old[i] != nil && old[i].empty() == now[i].empty()
	}
	done := func() {
		for i, s := range f.sides {
			s.policies = now[i]
		}
	}
	if known {
		err := f.flush(func(c *nftables.Conn) {
			for i, s := range f.sides {
				w := policyWriter{writer{s.family, c, &nftables.Table{Name: f.rules.Policies, Family: s.table}}}
				w.update(old[i], now[i])
			}
		})
		if err == nil {
			done()
			return nil
		}
	}
	// A kernel without nftables for bridges has been complained about when the other tables were written.
	err := f.flush(func(c *nftables.Conn) { f.makePolicies(c, now, true) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		err = f.flush(func(c *nftables.Conn) { f.makePolicies(c, now, false) })
	}
	if err != nil {
		return fmt.Errorf("cannot write the table of the network policies: %w", err)
	}
	done()
	return nil
}

// makePolicies makes the tables anew, and leaves none when there is nothing in them.
func (f *Filter) makePolicies(c *nftables.Conn, now []*policyTable, bridges bool) {
	for i, s := range f.sides {
		table := replace(c, s.table, f.rules.Policies)
		if now[i].empty() {
			c.DelTable(table)
			continue
		}
		w := policyWriter{writer{s.family, c, table}}
		w.base(f.rules.Bridge, s)
		w.update(newPolicyTable(), now[i])
	}
	if !bridges {
		return
	}
	bridge := replace(c, nftables.TableFamilyBridge, f.rules.Policies)
	if now[0].empty() { // as all are: they have the same chains
		c.DelTable(bridge)
		return
	}
	addPast(c, bridge, f.rules, f.sides)
}

// addPast keeps a pod that writes its own frames from sending them to another pod directly: nobody would judge them.
func addPast(c *nftables.Conn, t *nftables.Table, r Rules, sides []*side) {
	guard := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: new(bridgePriority + 1),
	})
	for _, s := range sides {
		c.AddRule(&nftables.Rule{Table: t, Chain: guard, Exprs: join([]expr.Any{
			payload(expr.PayloadBaseLLHeader, 0, 6, metaReg), &expr.Cmp{Op: expr.CmpOpNeq, Register: metaReg, Data: r.GatewayMAC},
		}, cameFrom(r.Prefix), protocol(s.ethertype), drop())})
	}
}

// policyWriter adds to one batch what makes the table of the policies.
type policyWriter struct{ writer }

func (w policyWriter) base(bridge string, side *side) {
	for _, s := range []*nftables.Set{
		{Name: outgoingMap, IsMap: true, KeyType: w.address, DataType: nftables.TypeVerdict},
		{Name: incomingMap, IsMap: true, KeyType: w.address, DataType: nftables.TypeVerdict},
		{Name: itselfSet, KeyType: nftables.MustConcatSetType(w.address, w.address), Concatenation: true},
	} {
		s.Table = w.t
		_ = w.c.AddSet(s, nil) // reported by Flush
	}
	chain := func(name string, priority nftables.ChainPriority) *nftables.Chain {
		return w.c.AddChain(&nftables.Chain{Name: name, Table: w.t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority})
	}
	open := state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, true)
	fromBridge := name(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridge)
	outgoing := join([]expr.Any{w.load(w.source, metaReg)}, lookup(outgoingMap, metaReg, 0))
	var asked []expr.Any // not where the DNS of the cluster is meant
	if side.clusterDNS.IsValid() {
		dns := side.clusterDNS.AsSlice()
		names := chain("names", *nftables.ChainPriorityNATDest-1)
		w.rule(names, open, accept())
		w.rule(names, fromBridge, []expr.Any{w.load(w.destination, metaReg), &expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: dns}}, outgoing)
		asked = []expr.Any{&expr.Ct{Register: metaReg, Key: expr.CtKeyDST}, &expr.Cmp{Op: expr.CmpOpNeq, Register: metaReg, Data: dns}}
	}

	pre := chain("prerouting", *nftables.ChainPriorityNATDest+1)
	w.rule(pre, open, accept())
	w.rule(pre, w.loadBoth(), lookupSet(itselfSet, w.at.source), accept())
	w.rule(pre, fromBridge, asked, outgoing)
	w.rule(pre, []expr.Any{w.load(w.destination, metaReg)}, lookup(incomingMap, metaReg, 0))
}

// update makes one table of the other, in one batch: sets and chains come before who names them, and go after.
func (w policyWriter) update(old, now *policyTable) {
	oldPeers, newPeers := gone(old.peers, now.peers)
	oldBlocks, newBlocks := gone(old.blocks, now.blocks)
	oldChains, newChains := gone(old.chains, now.chains)
	for _, name := range newPeers {
		_ = w.c.AddSet(&nftables.Set{Table: w.t, Name: name, KeyType: w.address}, nil) // reported by Flush
	}
	for _, name := range newBlocks {
		w.blocks(name, now)
	}
	for name := range now.peers {
		remove, add := diff(old.peers[name], now.peers[name], func(a netip.Addr, _ struct{}) nftables.SetElement { return nftables.SetElement{Key: a.AsSlice()} })
		w.elements(name, remove, add)
	}
	for _, name := range newChains {
		w.chain(now.chains[name])
	}
	w.lead(outgoingMap, old.outgoing, now.outgoing)
	w.lead(incomingMap, old.incoming, now.incoming)
	remove, add := diff(old.itself, now.itself, func(a netip.Addr, _ struct{}) nftables.SetElement {
		return nftables.SetElement{Key: slices.Concat(a.AsSlice(), a.AsSlice())}
	})
	w.elements(itselfSet, remove, add)
	for _, name := range oldChains {
		chain := &nftables.Chain{Name: name, Table: w.t}
		w.c.FlushChain(chain)
		w.c.DelChain(chain)
	}
	for _, name := range append(oldPeers, oldBlocks...) {
		w.c.DelSet(&nftables.Set{Table: w.t, Name: name})
	}
}

// lead sends pods to their chains.
func (w policyWriter) lead(to string, old, now map[netip.Addr]string) {
	remove, add := diff(old, now, func(a netip.Addr, chain string) nftables.SetElement {
		return nftables.SetElement{Key: a.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
	})
	w.elements(to, remove, add)
}

// blocks makes a set of ranges: where each begins, and where what is behind it does.
func (w policyWriter) blocks(name string, t *policyTable) {
	_ = w.c.AddSet(&nftables.Set{Table: w.t, Name: name, KeyType: w.address, Interval: true}, nil) // reported by Flush
	var elements []nftables.SetElement
	for _, r := range t.blocks[name] {
		elements = append(elements, nftables.SetElement{Key: r.First.AsSlice()})
		if after := r.Last.Next(); after.IsValid() {
			elements = append(elements, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
		}
	}
	w.elements(name, nil, elements)
}

// chain makes the chain of a group: one rule for each kind of peer and each range of ports.
func (w policyWriter) chain(g runtime.PolicyGroup) {
	chain := w.c.AddChain(&nftables.Chain{Name: g.Name, Table: w.t})
	other := w.load(w.source, metaReg)
	if g.Direction == runtime.Outgoing {
		other = w.load(w.destination, metaReg)
	}
	for _, r := range g.Rules {
		for _, who := range w.whoOf(r, other) {
			for _, what := range whatOf(r) {
				w.rule(chain, who, what, []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}})
			}
		}
	}
	w.rule(chain, drop())
}

// whoOf are the matches for the other end; none for nobody.
func (f family) whoOf(r runtime.PolicyRule, other *expr.Payload) [][]expr.Any {
	if r.Everybody {
		return [][]expr.Any{nil}
	}
	var out [][]expr.Any
	in := func(set string) { out = append(out, append([]expr.Any{other}, lookupSet(set, metaReg)...)) }
	if r.Peers != "" {
		in(r.Peers)
	}
	if blocks := f.blocksOf(r.Blocks); len(blocks) > 0 {
		in(blocksName(blocks))
	}
	return out
}

// whatOf are the matches for the port.
func whatOf(r runtime.PolicyRule) [][]expr.Any {
	if len(r.Ports) == 0 {
		return [][]expr.Any{nil}
	}
	var out [][]expr.Any
	for _, p := range r.Ports {
		number, ok := protocolNumber(p.Protocol)
		if !ok {
			continue
		}
		match := transport(number)
		if p.First > 0 || p.Last < 1<<16-1 {
			match = append(match, payload(expr.PayloadBaseTransportHeader, offsetPort, 2, metaReg),
				&expr.Cmp{Op: expr.CmpOpGte, Register: metaReg, Data: portBytes(p.First)}, &expr.Cmp{Op: expr.CmpOpLte, Register: metaReg, Data: portBytes(p.Last)})
		}
		out = append(out, match)
	}
	return out
}
