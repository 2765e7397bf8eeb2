package leak

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// takeNet counts links, addresses, routes and rules of the network namespace it runs in. What is in another goes with it.
func takeNet(s Snapshot) error {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("cannot list links: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		s[Link][fmt.Sprintf("%d %s", a.Index, a.Name)] = l.Type()
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("cannot list addresses: %w", err)
	}
	for _, a := range addrs {
		s[Address][fmt.Sprintf("%s on %s", a.IPNet, names[a.LinkIndex])] = ""
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("cannot list routes: %w", err)
	}
	for _, r := range routes {
		s[Route][fmt.Sprintf("%s table %d type %d via %s dev %s", r.Dst, r.Table, r.Type, r.Gw, names[r.LinkIndex])] = ""
	}
	rules, err := dump(func() ([]netlink.Rule, error) { return netlink.RuleList(netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("cannot list routing rules: %w", err)
	}
	for _, r := range rules {
		s[Route][fmt.Sprintf("rule %d family %d: %s", r.Priority, r.Family, r.String())] = ""
	}
	return nil
}

// dump asks again when the kernel's list changed while it was read.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for range 20 {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return list()
}

// takeNFT counts tables, chains, sets, objects and rules of every family.
func takeNFT(s Snapshot) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("cannot talk to nftables: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return fmt.Errorf("cannot list nft tables: %w", err)
	}
	for _, t := range tables {
		name := fmt.Sprintf("family %d table %s", t.Family, t.Name)
		s[NFT][name] = ""
		// A table that goes while it is read has nothing left to count.
		sets, _ := conn.GetSets(t)
		for _, set := range sets {
			s[NFT][name+" set "+set.Name] = ""
		}
		objects, _ := conn.GetObjects(t)
		for i := range objects {
			s[NFT][fmt.Sprintf("%s object %d", name, i)] = ""
		}
	}
	chains, err := conn.ListChains()
	if err != nil {
		return fmt.Errorf("cannot list nft chains: %w", err)
	}
	for _, c := range chains {
		name := fmt.Sprintf("family %d table %s chain %s", c.Table.Family, c.Table.Name, c.Name)
		s[NFT][name] = ""
		rules, _ := conn.GetRules(c.Table, c)
		for _, r := range rules {
			s[NFT][fmt.Sprintf("%s rule %d", name, r.Handle)] = ""
		}
	}
	return nil
}
