package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// patience is how long is waited for what must come about. Only a failure takes so long.
	patience = 20 * time.Second
	// blocked is how long a connection is tried that must not come about.
	blocked = 300 * time.Millisecond
)

func TestPodsTalkToEachOtherAndToTheMachine(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	server := serve(t, a, addrA)
	if got, err := ask(t, b, server, patience); err != nil || got != addrB.String() {
		t.Errorf("pod to pod: got %q, %v, want %s", got, err, addrB)
	}
	if got, err := askHere(server, patience); err != nil || got != n.Gateway().String() {
		t.Errorf("machine to pod: got %q, %v, want %s", got, err, n.Gateway())
	}
	machine, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	server = serve(t, machine, n.Gateway())
	if got, err := ask(t, b, server, patience); err != nil || got != addrB.String() {
		t.Errorf("pod to machine: got %q, %v, want %s", got, err, addrB)
	}
	in(t, b, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(eth0, unix.AF_UNSPEC)
		if err != nil || len(addrs) != 1 || addrs[0].IPNet.String() != addrB.String()+"/32" {
			return fmt.Errorf("addresses %v, %w", addrs, err)
		}
		return nil
	})
	if got := dropped(t, n, nftables.TableFamilyBridge); got != 0 {
		t.Errorf("%d honest packets were dropped", got)
	}
}

// outside makes a machine next door, at 198.51.100.2, which knows of this one only that it is at 198.51.100.1.
func outside(t *testing.T) *os.File {
	t.Helper()
	netns := newNetns(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "uplink", 1400
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "next", PeerNamespace: netlink.NsFd(netns.Fd())}); err != nil {
		t.Fatal(err)
	}
	up := func(name, address string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l))
	}
	if err := up("uplink", "198.51.100.1/24"); err != nil {
		t.Fatal(err)
	}
	in(t, netns, func() error { return up("next", "198.51.100.2/24") })
	if err := netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(198, 51, 100, 2)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l, err := netlink.LinkByName("uplink"); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
	return netns
}

func TestOutside(t *testing.T) {
	next := outside(t)
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	if got, err := ask(t, a, serve(t, next, netip.MustParseAddr("198.51.100.2")), patience); err != nil || got != "198.51.100.1" {
		t.Errorf("pod to outside: got %q, %v, want the machine's address", got, err)
	}
	in(t, a, func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err == nil && eth0.MTU != 1400 {
			err = fmt.Errorf("eth0 has MTU %d, the way out has 1400", eth0.MTU)
		}
		return err
	})
	// The neighbour learns a route to the pods: it gets answers, but may not begin.
	in(t, next, func() error {
		return netlink.RouteAdd(&netlink.Route{
			Dst: mask(n.PodCIDR()), Gw: net.IPv4(198, 51, 100, 1),
		})
	})
	mayNotBegin(t, n, next, serve(t, a, addrA), nftables.TableFamilyIPv4)
}

func TestWhatPodsMayNotSend(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	_, addrB := pod(t, n, "pod-b")
	gateway, macA, macB := macOf(n.Gateway()), macOf(addrA), macOf(addrB)
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+n.Bridge()+"/route_localnet", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	metadata, loopback := netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("127.0.0.1")
	ip, bridge := nftables.TableFamilyIPv4, nftables.TableFamilyBridge
	tests := map[string]sent{
		"honest datagram":                   {udp(macA, gateway, addrA, n.Gateway(), 7), 0},
		"honest ARP":                        {arp(macA, macA, addrA), 0},
		"a neighbour's address":             {udp(macA, gateway, addrB, n.Gateway(), 7), bridge},
		"a neighbour's MAC":                 {udp(macB, gateway, addrA, n.Gateway(), 7), bridge},
		"a neighbour's both":                {udp(macB, gateway, addrB, n.Gateway(), 7), bridge},
		"the machine's address":             {udp(macA, macB, n.Gateway(), addrB, 7), bridge},
		"a foreign address":                 {udp(macA, gateway, netip.MustParseAddr("192.0.2.9"), n.Gateway(), 7), bridge},
		"ARP for the machine's address":     {arp(macA, macA, n.Gateway()), bridge},
		"ARP with a neighbour's MAC inside": {arp(macA, macB, addrA), bridge},
		"IPv6":                              {slices.Concat(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 2}, macA, []byte{0x86, 0xdd}, make([]byte, 40)), bridge},
		"the machine's loopback":            {udp(macA, gateway, addrA, loopback, 7), ip},
		"the cloud's metadata":              {udp(macA, gateway, addrA, metadata, 80), ip},
		"the cloud's name server":           {udp(macA, gateway, addrA, metadata, 53), 0},
	}
	// The marker comes after the frame and arrives: then the frame has been judged, and the counters tell.
	judged, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.Gateway(), markerPort)))
	if err != nil {
		t.Fatal(err)
	}
	defer judged.Close()
	judge(t, n, a, ip, tests, judged, udp(macA, gateway, addrA, n.Gateway(), markerPort))
}

const markerPort = 9999

// sent is a frame of a pod.
type sent struct {
	frame []byte
	where nftables.TableFamily // it is dropped; 0: it passes
}

// judge sends frames from a pod, each followed by a marker that arrives, and holds what the tables of a family, and of bridges, have dropped against what they should.
func judge(t *testing.T, n *Network, pod *os.File, ip nftables.TableFamily, tests map[string]sent, arrives *net.UDPConn, marker []byte) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := map[nftables.TableFamily]uint64{}
			families := []nftables.TableFamily{ip, nftables.TableFamilyBridge}
			for _, family := range families {
				before[family] = dropped(t, n, family)
			}
			send(t, pod, tt.frame, marker)
			awaitDatagram(t, arrives)
			for _, family := range families {
				want := before[family]
				if family == tt.where {
					want++
				}
				if got := dropped(t, n, family); got != want {
					t.Errorf("family %d: %d dropped, want %d", family, got, want)
				}
			}
		})
	}
}

// mayNotBegin holds that nobody outside begins a connection with a pod, and that it is a table of ours that sees to it.
func mayNotBegin(t *testing.T, n *Network, outside *os.File, with string, family nftables.TableFamily) {
	t.Helper()
	before := dropped(t, n, family)
	if got, err := ask(t, outside, with, blocked); err == nil {
		t.Errorf("outside to pod: got %q, want it dropped", got)
	}
	if after := dropped(t, n, family); after == before {
		t.Error("outside to pod: nothing was dropped")
	}
}

func awaitDatagram(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadFrom(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// What the first pod sends in its first moment arrives: nobody sends a question for a name again before seconds have gone by.
func TestTheFirstPacketArrives(t *testing.T) {
	for i := range 20 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			n := open(t)
			conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.Gateway(), markerPort)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			netns, addr := pod(t, n, "pod")
			send(t, netns, udp(macOf(addr), macOf(n.Gateway()), addr, n.Gateway(), markerPort))
			awaitDatagram(t, conn)
		})
	}
}

func TestThreeHundredPodsAtOnce(t *testing.T) {
	const pods, starters = 300, 8
	n := open(t)
	spaces := make([]*os.File, pods)
	for i := range spaces {
		spaces[i] = newNetns(t)
	}
	errs := make([]error, pods)
	var group sync.WaitGroup
	next := make(chan int)
	start := time.Now()
	for range starters {
		group.Go(func() {
			for i := range next {
				uid := fmt.Sprint("pod-", i)
				addr, err := n.Allocate(uid)
				if err == nil {
					err = n.Attach(t.Context(), spaces[i], uid, addr, n.Address6(addr))
				}
				errs[i] = err
			}
		})
	}
	for i := range pods {
		next <- i
	}
	close(next)
	group.Wait()
	t.Logf("%v each", time.Since(start)/pods)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	waitLinks(t, n, pods)
	last, err := n.Allocate("pod-299")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := askHere(serve(t, spaces[299], last), patience); err != nil || got != n.Gateway().String() {
		t.Errorf("the last one: got %q, %v", got, err)
	}
	// Nothing but the end of the namespaces takes the interfaces away.
	start = time.Now()
	for _, ns := range spaces {
		_ = ns.Close()
	}
	waitLinks(t, n, 1) // the listener still holds one
	t.Logf("gone after %v", time.Since(start))
}

func TestOpeningAgainChangesNothing(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	server := serve(t, a, addrA)
	before := machineState(t)
	again := mustOpen(t, n.cfg)
	defer again.Close()
	if again.PodCIDR() != n.PodCIDR() || again.bridge.Load() != n.bridge.Load() {
		t.Errorf("got %s, bridge %d, want %s, %d", again.PodCIDR(), again.bridge.Load(), n.PodCIDR(), n.bridge.Load())
	}
	if after := machineState(t); !slices.Equal(before, after) {
		t.Errorf("before %v\nafter  %v", before, after)
	}
	if err := again.Reserve("pod-a", addrA); err != nil {
		t.Error(err)
	}
	if got, err := again.Allocate("pod-a"); err != nil || got != addrA {
		t.Errorf("adopted: got %v, %v, want %v", got, err, addrA)
	}
	if _, err := askHere(server, patience); err != nil {
		t.Errorf("the pod from before: %v", err)
	}
	b, _ := pod(t, again, "pod-b")
	if _, err := ask(t, b, server, patience); err != nil {
		t.Errorf("a new pod: %v", err)
	}
	if _, err := Open(t.Context(), Config{ID: n.cfg.ID, StateDir: n.cfg.StateDir, PodCIDR: netip.MustParsePrefix("10.77.0.0/24")}); err == nil ||
		!strings.Contains(err.Error(), "berth down") {
		t.Errorf("another range while pods run: got %v", err)
	}
}

// Somebody has removed the bridge: the next start makes it again, with the pods that run.
func TestTheBridgeComesBackWithItsPods(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	server := serve(t, a, addrA)
	bridge, err := netlink.LinkByName(n.Bridge())
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(bridge); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, n.cfg)
	defer again.Close()
	if err := errors.Join(again.Reserve("pod-a", addrA), again.Reserve("pod-b", addrB), again.Rejoin(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t, b, server, patience); err != nil || got != addrB.String() {
		t.Errorf("pod to pod: got %q, %v, want %s", got, err, addrB)
	}
	if _, err := askHere(server, patience); err != nil {
		t.Errorf("machine to pod: %v", err)
	}
	if got := dropped(t, again, nftables.TableFamilyBridge); got != 0 {
		t.Errorf("%d honest packets were dropped", got)
	}
}

func TestTwoInstancesSideBySide(t *testing.T) {
	clean := machineState(t)
	one, two := mustOpen(t, newConfig(t)), mustOpen(t, newConfig(t))
	if one.PodCIDR().Overlaps(two.PodCIDR()) {
		t.Errorf("%s and %s overlap", one.PodCIDR(), two.PodCIDR())
	}
	a, addrA := pod(t, one, "pod-a")
	if _, err := Open(t.Context(), Config{ID: "00000000", StateDir: t.TempDir(), PodCIDR: one.PodCIDR()}); err == nil || !strings.Contains(err.Error(), "uses") {
		t.Errorf("a range that is taken: got %v", err)
	}
	if err := two.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if on, err := isOn(forwardingPath); err != nil || !on {
		t.Errorf("forwarding was turned off under the other: %v", err)
	}
	if _, err := askHere(serve(t, a, addrA), patience); err != nil {
		t.Errorf("the other's pod: %v", err)
	}
	kept := two.PodCIDR()
	two = mustOpen(t, two.cfg)
	if two.PodCIDR() != kept {
		t.Errorf("range after down and up: got %s, want %s", two.PodCIDR(), kept)
	}
	// The first one, which saw forwarding off, goes before the second.
	for _, n := range []*Network{one, two} {
		removeUnder(t, n)
		if err := Remove(t.Context(), n.cfg); err != nil {
			t.Errorf("removing again: %v", err)
		}
	}
	if after := machineState(t); !slices.Equal(clean, after) {
		t.Errorf("before %v\nafter  %v", clean, after)
	}
}

func TestForeignThingsStay(t *testing.T) {
	conn := &nftables.Conn{}
	table := conn.AddTable(&nftables.Table{Name: "berth-foreign", Family: nftables.TableFamilyIPv4})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br-foreign"
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	before := machineState(t)
	n := mustOpen(t, newConfig(t))
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := slices.DeleteFunc(machineState(t), func(s string) bool { return strings.HasPrefix(s, "forwarding") })
	if want := slices.DeleteFunc(before, func(s string) bool { return strings.HasPrefix(s, "forwarding") }); !slices.Equal(want, after) {
		t.Errorf("before %v\nafter  %v", want, after)
	}
	if on, _ := isOn(forwardingPath); !on {
		t.Error("forwarding was turned off although there is another bridge")
	}
	conn.DelTable(table)
	if err := errors.Join(conn.Flush(), netlink.LinkDel(&netlink.Bridge{LinkAttrs: attrs}), set(forwardingPath, "0")); err != nil {
		t.Fatal(err)
	}
}

func TestAttachTwiceAndAttachToNothing(t *testing.T) {
	n := open(t)
	_, addr := pod(t, n, "pod-a")
	second := newNetns(t)
	if err := n.Attach(t.Context(), second, "pod-a", addr, n.Address6(addr)); err != nil {
		t.Errorf("a new sandbox while the old namespace lives: %v", err)
	}
	if _, err := askHere(serve(t, second, addr), patience); err != nil {
		t.Error(err)
	}
	if err := n.Attach(t.Context(), second, "pod-b", addr, n.Address6(addr)); err == nil {
		t.Error("another pod's address was attached")
	}
	other, err := n.Allocate("pod-b")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Attach(t.Context(), second, "pod-b", other, n.Address6(other)); err == nil {
		t.Error("a second eth0 was attached")
	}
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := n.Attach(t.Context(), file, "pod-b", other, n.Address6(other)); err == nil {
		t.Error("attached to something that is no namespace")
	}
	waitLinks(t, n, 1)
}
