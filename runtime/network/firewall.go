package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
	"berth/runtime/network/nft"
)

// testUID holds the address of the self-test, which is no pod's.
const testUID = "berth self-test"

// outsideAddress and outsideAddress6 stand for everybody else: nobody has them (TEST-NET-1, RFC 5737, and RFC 3849), and nothing is sent there.
var outsideAddress, outsideAddress6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:ffff::1")

// testPaths sees whether packets of pods come through the machine's packet filter: a chain of somebody else that drops them cannot be overruled
// from a table of ours. What is cut becomes a warning with the line that opens it; or, when Config.AllowFirewall says so, is opened.
func (n *Network) testPaths(ctx context.Context) error {
	cuts, err := n.probePaths(ctx)
	if err != nil {
		return err
	}
	if n.cfg.AllowFirewall && len(cuts) > 0 {
		if err := n.filter.Allow(cuts); err != nil {
			return err
		}
		if cuts, err = n.probePaths(ctx); err != nil {
			return err
		}
	}
	chains := map[string]bool{}
	if len(cuts) > 0 {
		if chains, err = nft.Chains(); err != nil {
			return err
		}
	}
	warnings := n.explainAll(cuts, chains)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = warnings
	return nil
}

// explainAll says once what several paths have in common.
func (n *Network) explainAll(cuts []nft.Cut, chains map[string]bool) []string {
	var order []string
	paths := map[string][]string{}
	for _, cut := range cuts {
		why := n.explain(cut, chains)
		if len(paths[why]) == 0 {
			order = append(order, why)
		}
		paths[why] = append(paths[why], cut.Path.Name)
	}
	var warnings []string
	for _, why := range order {
		warnings = append(warnings, "the machine's firewall drops packets "+strings.Join(paths[why], " and ")+": "+why)
	}
	return warnings
}

// probePaths sends datagrams from a namespace that is attached like a pod's.
func (n *Network) probePaths(ctx context.Context) (cuts []nft.Cut, err error) {
	addr, err := n.pool.Allocate(testUID)
	if err != nil {
		return nil, nil // every address is a pod's: it will be tested another time
	}
	defer n.pool.Release(testUID)
	netns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	defer func() { _ = netns.Close() }()
	addr6 := n.Address6(addr)
	if err := n.Attach(ctx, netns, testUID, addr, addr6); err != nil {
		return nil, err
	}
	cuts, err = n.probeFrom(netns, addr, n.paths())
	if err != nil || !addr6.IsValid() {
		return cuts, err
	}
	more, err := n.probeFrom(netns, addr6, n.paths6())
	return append(cuts, more...), err
}

func (n *Network) probeFrom(netns *os.File, addr netip.Addr, paths []nft.Path) ([]nft.Cut, error) {
	conn, err := udpIn(netns, addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return n.filter.Probe(addr, paths, func(to netip.AddrPort) error {
		_, err := conn.WriteToUDPAddrPort([]byte("berth"), to)
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil // an answer to an earlier one
		}
		return err
	})
}

// discard is for nobody (RFC 863).
const discard = 9

// nobody is an address that no pod has: a pod's own policies are no firewall's.
func (n *Network) nobody() netip.Addr {
	for _, addr := range n.pool.Addresses() {
		if n.pool.Holder(addr) == "" {
			return addr
		}
	}
	return place(n.pool.Prefix(), 2)
}

// paths are those of IPv4 that can be tried now, paths6 those of IPv6.
func (n *Network) paths() []nft.Path {
	paths := []nft.Path{{Name: "from pod to pod", To: netip.AddrPortFrom(n.nobody(), discard)}}
	if haveRoute(outsideAddress) {
		paths = append(paths, nft.Path{Name: "from pods to the outside", To: netip.AddrPortFrom(outsideAddress, discard)})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dns.IsValid() {
		paths = append(paths, nft.Path{Name: "from pods to the DNS of the cluster", To: n.dns, Here: true})
	}
	return paths
}

func (n *Network) paths6() []nft.Path {
	paths := []nft.Path{{Name: "from pod to pod by IPv6", To: netip.AddrPortFrom(n.Address6(n.nobody()), discard)}}
	if haveRoute(outsideAddress6) {
		paths = append(paths, nft.Path{Name: "from pods to the outside by IPv6", To: netip.AddrPortFrom(outsideAddress6, discard)})
	}
	return paths
}

// haveRoute says whether there is a way to an address. Nothing is sent: connect(2) only asks the routing table.
func haveRoute(to netip.Addr) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, discard)))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// explain says which chain cuts a path, and the lines that open it.
func (n *Network) explain(cut nft.Cut, chains map[string]bool) string {
	if cut.Table == "" {
		program := iptablesOf(cut) + "-legacy"
		return "no chain of nftables does it, so it is one of " + program + "; " + remedy(iptables(program, n.cfg.bridge(), cut)...)
	}
	why := fmt.Sprintf("chain %s of table %s %s", cut.Chain, cut.Family, cut.Table)
	if cut.Policy {
		why += " by its policy"
	}
	return why + "; " + remedy(n.lines(cut, chains)...)
}

func remedy(lines ...string) string { return "to open it: `" + strings.Join(lines, "` and `") + "`" }

// lines are in the words of whoever manages the table.
func (n *Network) lines(cut nft.Cut, chains map[string]bool) []string {
	br, port, here := n.cfg.bridge(), cut.Path.To.Port(), cut.Path.Here
	insert := fmt.Sprintf("nft insert rule %s %s %s ", cut.Family, cut.Table, cmp.Or(cut.Base, cut.Chain))
	has := func(chain string) bool { return chains[cut.Family+"/"+cut.Table+"/"+chain] }
	switch {
	case cut.Table == "firewalld":
		return []string{"firewall-cmd --permanent --zone=trusted --add-interface=" + br, "firewall-cmd --reload"}
	case here && (has("ufw-user-input") || has("ufw6-user-input")):
		return []string{fmt.Sprintf("ufw allow in on %s to any port %d", br, port)}
	case !here && (has("ufw-user-forward") || has("ufw6-user-forward")):
		return []string{"ufw route allow in on " + br}
	case !here && has("DOCKER-USER"):
		return []string{
			fmt.Sprintf("%s -I DOCKER-USER -i %s -j ACCEPT", iptablesOf(cut), br),
			fmt.Sprintf("%s -I DOCKER-USER -o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", iptablesOf(cut), br),
		}
	case cut.Table == "filter" && cut.Family != "inet":
		return iptables(iptablesOf(cut), br, cut)
	case here:
		return []string{fmt.Sprintf("%siifname %s meta l4proto { tcp, udp } th dport %d accept", insert, br, port)}
	}
	return []string{insert + "iifname " + br + " accept", insert + "oifname " + br + " ct state established,related accept"}
}

// iptablesOf is the program for the family of a path.
func iptablesOf(cut nft.Cut) string {
	if cut.Path.To.Addr().Is6() {
		return "ip6tables"
	}
	return "iptables"
}

func iptables(program, br string, cut nft.Cut) []string {
	if cut.Path.Here {
		port := cut.Path.To.Port()
		return []string{
			fmt.Sprintf("%s -I INPUT -i %s -p udp --dport %d -j ACCEPT", program, br, port),
			fmt.Sprintf("%s -I INPUT -i %s -p tcp --dport %d -j ACCEPT", program, br, port),
		}
	}
	return []string{
		fmt.Sprintf("%s -I FORWARD -i %s -j ACCEPT", program, br),
		fmt.Sprintf("%s -I FORWARD -o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", program, br),
	}
}

// newNamespace makes a network namespace that lives as long as the file, or what is opened in it.
func newNamespace() (netns *os.File, err error) {
	err = sys.Away(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot make a network namespace: %w", err)
		}
		netns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return netns, err
}

// udpIn opens a socket in a namespace, on an address there.
func udpIn(netns *os.File, addr netip.Addr) (conn *net.UDPConn, err error) {
	err = sys.Away(func() error {
		if err := sys.EnterNetNS(netns); err != nil {
			return err
		}
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	return conn, err
}

// Enter moves the calling thread to another network namespace. The caller has locked it, and it does not come back.
func Enter(netns *os.File) error { return sys.EnterNetNS(netns) }
