package network

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forwarding6Path makes a router of the machine, on all its interfaces. A router does not believe other routers, unless told to in so many words: where
// accept_ra was 1 it has to become 2, and before, or the kernel throws away what it has learned, the way out of the machine with it.
const forwarding6Path = conf6 + "all/forwarding"

// conf6 has a directory for each interface.
const conf6 = "/proc/sys/net/ipv6/conf/"

// settings6 are those of IPv6.
type settings6 struct {
	// Forwarding6WasOff says that net.ipv6.conf.all.forwarding was 0.
	Forwarding6WasOff bool `json:"forwarding6WasOff,omitempty"`
	// Advertised are the interfaces, separated by blanks, whose accept_ra was 1.
	Advertised string `json:"advertised,omitempty"`
}

// The words of an alias. Those of the interfaces come last: nothing else has blanks between.
const wasOffWords6, advertisedWords = "ipv6 forwarding was 0", "accept_ra was 1 on "

func (s settings6) words() []string {
	var words []string
	if s.Forwarding6WasOff {
		words = append(words, wasOffWords6)
	}
	if s.Advertised != "" {
		words = append(words, advertisedWords+s.Advertised)
	}
	return words
}

func settings6Of(text string) settings6 {
	_, names, _ := strings.Cut(text, advertisedWords)
	return settings6{strings.Contains(text, wasOffWords6), names}
}

func (s settings6) or(o settings6) settings6 {
	names := append(strings.Fields(s.Advertised), strings.Fields(o.Advertised)...)
	slices.Sort(names)
	return settings6{s.Forwarding6WasOff || o.Forwarding6WasOff, strings.Join(slices.Compact(names), " ")}
}

// readSettings6 says how they are, of the machine's interfaces but our own bridge.
func readSettings6(links []netlink.Link, own int, advertised map[int]bool) (settings6, error) {
	on, err := isOn(forwarding6Path)
	if err != nil || on { // who does not believe now is not to be made to
		return settings6{}, err
	}
	names := listeners(links, own, advertised, func(name string) bool { return is(conf6+name+"/accept_ra", "1") && is(conf6+name+"/forwarding", "0") })
	return settings6{true, strings.Join(names, " ")}, nil
}

// ensureSettings6 makes the machine forward IPv6, too.
func (s settings6) ensure(bridge string) error {
	var errs []error
	for name := range strings.FieldsSeq(s.Advertised) {
		if path := conf6 + name + "/accept_ra"; is(path, "1") {
			errs = append(errs, set(path, "2"))
		}
	}
	all := needed6(bridge)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if !is(path, all[path]) {
			errs = append(errs, set(path, all[path]))
		}
	}
	return errors.Join(errs...)
}

// needed6 are the settings that pods with IPv6 need. Nobody on the bridge is a router; and it is to have an address, whatever the machine thinks of new
// interfaces.
func needed6(bridge string) map[string]string {
	return map[string]string{forwarding6Path: "1", conf6 + bridge + "/forwarding": "1", conf6 + bridge + "/accept_ra": "0", conf6 + bridge + "/disable_ipv6": "0"}
}

// welcome lets an interface that has come while pods have IPv6 believe routers, as it would without berth, before it is up: that is when it asks for one. Ends
// of containers' interfaces are left out: nobody there is a router.
func (n *Network) welcome(name string) error {
	if strings.HasPrefix(name, n.cfg.prefix()) {
		return nil
	}
	n.attaching.Lock()
	defer n.attaching.Unlock()
	if !n.kept.IPv6 || !n.kept.Forwarding6WasOff { // else it would not believe either
		return nil
	}
	l, err := linkByName(name)
	if err != nil || l == nil || l.Type() == "veth" {
		return err
	}
	names := listeners([]netlink.Link{l}, int(n.bridge.Load()), nil, func(name string) bool { return is(conf6+name+"/accept_ra", "1") })
	if len(names) == 0 {
		return nil
	}
	if err := set(conf6+name+"/accept_ra", "2"); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone, or it has another name by now
		}
		return err
	}
	return n.remember(settings6{Advertised: name})
}

// keepListeners notes, while somebody has switched forwarding off, who believes routers then, before it is switched on again.
func (n *Network) keepListeners() error {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("cannot list interfaces: %w", err)
	}
	now, err := readSettings6(links, int(n.bridge.Load()), nil)
	if err != nil {
		return err
	}
	return n.remember(now)
}

// remember adds to what is kept of the settings, and drops interfaces that are gone.
func (n *Network) remember(more settings6) error {
	all := n.kept.settings6.or(more)
	names := slices.DeleteFunc(strings.Fields(all.Advertised), func(name string) bool {
		_, err := os.Stat(conf6 + name)
		return err != nil
	})
	all.Advertised = strings.Join(names, " ")
	if all == n.kept.settings6 {
		return nil
	}
	n.kept.settings6 = all
	err := writeState(n.cfg.StateDir, n.kept)
	if l, _ := linkByName(n.cfg.bridge()); l != nil {
		err = errors.Join(err, netlink.LinkSetAlias(l, n.kept.alias()))
	}
	return err
}

// restore undoes what the first berth did, unless somebody else seems to need it: who has an address of IPv6 where packets may come to be forwarded.
func (s settings6) restore(links []netlink.Link) error {
	if !s.Forwarding6WasOff || slices.ContainsFunc(links, func(l netlink.Link) bool { return mayForward(l) && hasAddress6(l) }) {
		return nil
	}
	err := set(forwarding6Path, "0")
	for name := range strings.FieldsSeq(s.Advertised) {
		if path := conf6 + name + "/accept_ra"; is(path, "2") {
			err = errors.Join(err, set(path, "1"))
		}
	}
	return err
}

func hasAddress6(l netlink.Link) bool {
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(l, unix.AF_INET6) })
	return err != nil || slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return !a.IP.IsLinkLocalUnicast() })
}

// is says whether a setting has this value; one that is not there has none.
func is(path, value string) bool {
	text, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(text)) == value
}
