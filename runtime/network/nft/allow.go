package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Allow puts rules in front of the chains that cut paths of pods, which let pass what comes from the bridge, and answers to it: each tagged
// with the name of the instance's table, by which Disallow knows them.
func (f *Filter) Allow(cuts []Cut) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	type place struct {
		family, table, chain string
		here                 bool
	}
	opened := map[place]bool{}
	for _, cut := range cuts {
		family, ok := families[cut.Family]
		at := place{cut.Family, cut.Table, cut.Base, cut.Path.Here}
		if !ok || cut.Base == "" || opened[at] {
			continue
		}
		opened[at] = true
		table := &nftables.Table{Name: cut.Table, Family: family}
		chain := &nftables.Chain{Name: cut.Base, Table: table}
		err := f.flush(func(c *nftables.Conn) {
			for _, exprs := range f.openings(cut) {
				c.InsertRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs, UserData: f.tag()})
			}
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot open chain %s of table %s %s: %w", cut.Base, cut.Family, cut.Table, err))
		}
	}
	return errors.Join(errs...)
}

func (f *Filter) tag() []byte {
	return userdata.AppendString(nil, userdata.TypeComment, f.rules.Table)
}

// openings are in the form that iptables-nft writes and reads, so that the administrator sees them with the program he knows.
func (f *Filter) openings(cut Cut) [][]expr.Any {
	from := linkName(expr.MetaKeyIIFNAME, f.rules.Bridge)
	pass := []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}
	if cut.Path.Here {
		port := []byte{byte(cut.Path.To.Port() >> 8), byte(cut.Path.To.Port())}
		var both [][]expr.Any
		for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
			to := append(transport(protocol), payload(expr.PayloadBaseTransportHeader, offsetPort, 2, metaReg),
				&expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: port})
			both = append(both, join(from, to, pass))
		}
		return both
	}
	return [][]expr.Any{
		join(linkName(expr.MetaKeyOIFNAME, f.rules.Bridge), answers(cut), pass),
		join(from, pass),
	}
}

// answers match packets of connections that are open. In a table of iptables-nft it has to be iptables' own match: a rule with another one makes
// that program refuse the whole table.
func answers(cut Cut) []expr.Any {
	if cut.Family == "inet" || cut.Table != "filter" {
		return state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, true)
	}
	const matchState, established, related = 1, 1 << 1, 1 << 2 // XT_CONNTRACK_STATE, XT_CONNTRACK_STATE_BIT
	return []expr.Any{&expr.Match{Name: "conntrack", Rev: 3, Info: &xt.ConntrackMtinfo3{ConntrackMtinfo2: xt.ConntrackMtinfo2{
		ConntrackMtinfoBase: xt.ConntrackMtinfoBase{MatchFlags: matchState}, StateMask: established | related,
	}}}}
}

// linkName compares the name of an interface with its end, as iptables-nft does.
func linkName(key expr.MetaKey, link string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: metaReg}, &expr.Cmp{Op: expr.CmpOpEq, Register: metaReg, Data: append([]byte(link), 0)}}
}

// Disallow takes away the rules that Allow of this instance has put into tables of others.
func Disallow(table string) error {
	c := &nftables.Conn{}
	var errs []error
	for _, family := range families {
		chains, err := c.ListChainsOfTableFamily(family)
		if err != nil {
			continue // a kernel without this family has no rules in it
		}
		for _, chain := range chains {
			if chain.Hooknum == nil || !slices.Contains([]nftables.ChainHook{*nftables.ChainHookInput, *nftables.ChainHookForward}, *chain.Hooknum) {
				continue
			}
			rules, err := c.GetRules(chain.Table, chain)
			if err != nil {
				errs = append(errs, fmt.Errorf("cannot read chain %s of table %s: %w", chain.Name, chain.Table.Name, err))
				continue
			}
			for _, r := range rules {
				if comment, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok && comment == table {
					errs = append(errs, c.DelRule(r))
				}
			}
		}
	}
	return errors.Join(append(errs, c.Flush())...)
}

// Chains are the names of all chains of the machine's filters, FAMILY/TABLE/CHAIN, by which one knows who manages them.
func Chains() (map[string]bool, error) {
	names := map[string]bool{}
	for word, family := range families {
		chains, err := (&nftables.Conn{}).ListChainsOfTableFamily(family)
		if err != nil {
			if word == "ip6" {
				continue // a kernel without IPv6
			}
			return nil, fmt.Errorf("cannot list the machine's chains: %w", err)
		}
		for _, chain := range chains {
			names[word+"/"+chain.Table.Name+"/"+chain.Name] = true
		}
	}
	return names, nil
}
