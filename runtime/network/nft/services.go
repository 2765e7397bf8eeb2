package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

// A new connection takes two steps. The map of ports says by how many backends there are which chain goes on (n3, or n3-10800 with
// affinity), and there the map of backends is asked for the one with a random number. So adding a Service or a backend adds elements, and
// rules only when there has never been that many backends: a change costs what has changed, however many Services there are.
//
// With affinity, which of the numbers a client got is remembered, and asked for one by one: there is no rule that looks one up and that nft
// can print. So a backend keeps its number as long as it lives (see place).
//
// A packet that looks at the first map before a change and at the second after it may ask for a number that is not there any more; then it
// is number 0, which every port has, and which is asked for again if it is just being replaced (see ask).
const (
	portsMap, backendsMap, refusedSet, hairpinSet = "ports", "backends", "refused", "hairpin"
	clientsSet                                    = "clients"
	// affinitySize bounds what is remembered; clients beyond it have no affinity.
	affinitySize = 1 << 16
)

// writer adds to one batch what makes the table of the Services of one family.
type writer struct {
	family
	c *nftables.Conn
	t *nftables.Table
}

// SetServices directs connections to the backends of these Services, and those to clusterDNS to dns unless that is zero. When it returns the
// kernel does so. It returns which connections the kernel has to forget, also of one family when that of the other could not be written.
func (f *Filter) SetServices(services []runtime.Service, clusterDNS netip.Addr, dns netip.AddrPort) ([]Stale, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var stale []Stale
	var errs []error
	for _, s := range f.sides {
		old := s.applied
		now := compute(old, services, clusterDNS, dns, s.services)
		if err := f.write(s, now); err != nil {
			errs = append(errs, err)
			continue
		}
		stale = append(stale, now.stale(old, s.services))
	}
	return stale, errors.Join(errs...)
}

// write makes the table what it has to be: by what changed, or, where that is not known or does not work, as a whole.
func (f *Filter) write(s *side, now *table) error {
	if s.applied != nil {
		err := f.flush(func(c *nftables.Conn) {
			w := writer{s.family, c, &nftables.Table{Name: f.rules.Services, Family: s.table}}
			w.update(s.applied, now)
		})
		if err == nil {
			s.applied = now
			return nil
		}
		s.applied = nil
	}
	err := f.flush(func(c *nftables.Conn) {
		w := writer{s.family, c, replace(c, s.table, f.rules.Services)}
		w.base(f.rules, s)
		w.update(newTable(), now)
	})
	if err != nil {
		return fmt.Errorf("cannot write the table of the Services: %w", err)
	}
	s.applied = now
	return nil
}

// restoreServices writes the tables of the Services anew that have been written before.
func (f *Filter) restoreServices() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, s := range f.sides {
		if now := s.applied; now != nil {
			s.applied = nil
			errs = append(errs, f.write(s, now))
		}
	}
	return errors.Join(errs...)
}

func (w writer) base(r Rules, side *side) {
	pair := nftables.MustConcatSetType(w.address, w.address)
	port := nftables.MustConcatSetType(w.address, nftables.TypeInetProto, nftables.TypeInetService)
	target := nftables.MustConcatSetType(w.address, nftables.TypeInetService)
	place := nftables.MustConcatSetType(w.address, nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeMark)
	client := nftables.MustConcatSetType(w.address, w.address, nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeMark)
	for _, s := range []*nftables.Set{
		{Name: portsMap, IsMap: true, KeyType: port, DataType: nftables.TypeVerdict},
		{Name: backendsMap, IsMap: true, KeyType: place, DataType: target},
		{Name: refusedSet, KeyType: port},
		{Name: clientsSet, KeyType: client, HasTimeout: true, Dynamic: true, Size: affinitySize},
		{Name: hairpinSet, KeyType: pair},
	} {
		s.Table, s.Concatenation = w.t, true
		_ = w.c.AddSet(s, nil) // reported by Flush
	}
	var itself []nftables.SetElement
	for _, a := range side.ports {
		itself = append(itself, nftables.SetElement{Key: slices.Concat(a.AsSlice(), a.AsSlice())})
	}
	w.elements(hairpinSet, nil, itself)
	w.hooks(r.Bridge, side.services)
}

func (w writer) hooks(bridge string, services netip.Prefix) {
	chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return w.c.AddChain(&nftables.Chain{Name: name, Table: w.t, Type: kind, Hooknum: hook, Priority: &priority})
	}
	pre := chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest)
	w.rule(pre, name(expr.MetaKeyIIFNAME, expr.CmpOpNeq, bridge), within(w.destination, expr.CmpOpEq, services), accept())
	w.ask(pre)
	out := chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest)
	w.ask(out)
	post := chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
	w.rule(post, w.loadBoth(), lookupSet(hairpinSet, w.at.source), []expr.Any{&expr.Masq{}})

	refuse := w.c.AddChain(&nftables.Chain{Name: "refuse", Table: w.t})
	// What belongs to no connection any more is no reason to end one.
	w.rule(refuse, state(expr.CtStateBitINVALID, true), drop())
	w.rule(refuse, transport(unix.IPPROTO_TCP), []expr.Any{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
	w.rule(refuse, []expr.Any{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: w.unreachable}})
	for name, hook := range map[string]*nftables.ChainHook{
		"refuse-input": nftables.ChainHookInput, "refuse-forward": nftables.ChainHookForward, "refuse-output": nftables.ChainHookOutput,
	} {
		// Before others' rules, which may drop: a refusal is told.
		from := chain(name, nftables.ChainTypeFilter, hook, *nftables.ChainPriorityFilter-1)
		w.rule(from, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, true), accept()) // somebody has answered
		w.rule(from, within(w.destination, expr.CmpOpEq, services), goTo("refuse"))
		w.rule(from, state(expr.CtStateBitNEW, true), w.loadPort(), lookupSet(refusedSet, w.at.address), goTo("refuse"))
	}
}

// ask looks up which chain goes on; twice, as a kernel before 6.17 may miss an element that is just being replaced.
func (w writer) ask(chain *nftables.Chain) {
	for range 2 {
		w.rule(chain, w.loadPort(), lookup(portsMap, w.at.address, 0))
	}
}

func (w writer) rule(chain *nftables.Chain, parts ...[]expr.Any) {
	w.c.AddRule(&nftables.Rule{Table: w.t, Chain: chain, Exprs: join(parts...)})
}

// loadPort puts what the packet is sent to into the registers of a portKey.
func (f family) loadPort() []expr.Any {
	return []expr.Any{
		f.load(f.destination, f.at.address),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: f.at.protocol},
		payload(expr.PayloadBaseTransportHeader, offsetPort, 2, f.at.port),
	}
}

func lookup(name string, from, to uint32) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: from, DestRegister: to, IsDestRegSet: true, SetName: name}}
}

func lookupSet(name string, from uint32) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: from, SetName: name}}
}

func goTo(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
}

// chain is the name of the one that knows this way.
func (w way) chain() string {
	if w.affinity > 0 {
		return fmt.Sprintf("n%d-%d", w.backends, w.affinity)
	}
	return fmt.Sprintf("n%d", w.backends)
}

// ways makes the chains that the ports of the new table need and the old one has not. None is ever removed: there are few.
func (w writer) ways(old, now *table) {
	have := map[string]bool{}
	for _, way := range old.ports {
		have[way.chain()] = true
	}
	for _, way := range now.ports {
		if have[way.chain()] {
			continue
		}
		have[way.chain()] = true
		chain := w.c.AddChain(&nftables.Chain{Name: way.chain(), Table: w.t})
		w.c.FlushChain(chain) // one of an earlier time
		if way.affinity > 0 {
			for n := range way.backends {
				w.rule(chain, w.loadSource(), w.loadPort(), w.numbered(n), lookupSet(clientsSet, w.at.source), w.remember(unix.NFT_DYNSET_OP_UPDATE, way), w.direct())
			}
			w.rule(chain, w.loadSource(), w.loadPort(), w.anyNumber(way), w.remember(unix.NFT_DYNSET_OP_ADD, way), w.direct())
		}
		w.rule(chain, w.loadPort(), w.anyNumber(way), w.direct())
		w.rule(chain, w.loadPort(), w.numbered(0), w.direct())
	}
}

func (f family) loadSource() []expr.Any { return []expr.Any{f.load(f.source, f.at.source)} }

// numbered is a constant, in a form nft can print.
func (f family) numbered(n uint32) []expr.Any {
	return []expr.Any{&expr.Numgen{Register: f.at.number, Modulus: 1, Offset: n, Type: unix.NFT_NG_RANDOM}}
}

func (f family) anyNumber(w way) []expr.Any {
	return []expr.Any{&expr.Numgen{Register: f.at.number, Modulus: w.backends, Type: unix.NFT_NG_RANDOM}}
}

func (f family) remember(operation uint32, w way) []expr.Any {
	return []expr.Any{&expr.Dynset{SrcRegKey: f.at.source, SetName: clientsSet, Operation: operation, Timeout: time.Duration(w.affinity) * time.Second}}
}

// direct sends the connection to the backend with the number in the register; when there is none the next rule is asked.
func (f family) direct() []expr.Any {
	return append(lookup(backendsMap, f.at.address, f.at.backend),
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: f.nat, RegAddrMin: f.at.backend, RegProtoMin: f.at.backendPort})
}

// update makes one table of the other. What changes goes and comes in the same batch: no packet sees it missing.
func (w writer) update(old, now *table) {
	w.ways(old, now)
	remove, add := diff(old.ports, now.ports, func(key portKey, way way) nftables.SetElement {
		return nftables.SetElement{Key: key.bytes(w.size), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: way.chain()}}
	})
	w.elements(portsMap, remove, add)
	remove, add = diff(old.backends, now.backends, func(key placeKey, b backend) nftables.SetElement {
		return nftables.SetElement{Key: key.bytes(w.size), Val: b.bytes(w.size)}
	})
	w.elements(backendsMap, remove, add)
	remove, add = diff(old.refused, now.refused, func(key portKey, _ struct{}) nftables.SetElement { return nftables.SetElement{Key: key.bytes(w.size)} })
	w.elements(refusedSet, remove, add)
}

// diff says what of a map has to go and to come. What changes its value does both.
func diff[K, V comparable](old, now map[K]V, element func(K, V) nftables.SetElement) (remove, add []nftables.SetElement) {
	for k, v := range old {
		if after, ok := now[k]; !ok || after != v {
			remove = append(remove, nftables.SetElement{Key: element(k, v).Key})
		}
	}
	for k, v := range now {
		if before, ok := old[k]; !ok || before != v {
			add = append(add, element(k, v))
		}
	}
	return remove, add
}

func (w writer) elements(set string, remove, add []nftables.SetElement) {
	s := &nftables.Set{Table: w.t, Name: set}
	for from := 0; from < len(remove); from += chunk {
		_ = w.c.SetDeleteElements(s, remove[from:min(from+chunk, len(remove))]) // reported by Flush
	}
	for from := 0; from < len(add); from += chunk {
		_ = w.c.SetAddElements(s, add[from:min(from+chunk, len(add))])
	}
}
