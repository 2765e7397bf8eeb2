package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestPodsTalkByIPv6(t *testing.T) {
	n := open6(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	sixA, sixB := n.Address6(addrA), n.Address6(addrB)
	server := serve(t, a, sixA)
	if got, err := ask(t, b, server, patience); err != nil || got != sixB.String() {
		t.Errorf("pod to pod: got %q, %v, want %s", got, err, sixB)
	}
	if got, err := askHere(server, patience); err != nil || got != n.Gateway6().String() {
		t.Errorf("machine to pod: got %q, %v, want %s", got, err, n.Gateway6())
	}
	if got, err := ask(t, b, serve(t, machineNetns(t), n.Gateway6()), patience); err != nil || got != sixB.String() {
		t.Errorf("pod to machine: got %q, %v, want %s", got, err, sixB)
	}
	if got, err := ask(t, b, serve(t, a, addrA), patience); err != nil || got != addrB.String() {
		t.Errorf("by IPv4: got %q, %v, want %s", got, err, addrB)
	}
	in(t, b, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		var have []string
		addrs, err := netlink.AddrList(eth0, unix.AF_UNSPEC)
		for _, a := range addrs {
			have = append(have, a.IPNet.String())
		}
		if want := []string{addrB.String() + "/32", sixB.String() + "/128"}; err != nil || !slices.Equal(have, want) {
			return fmt.Errorf("addresses %v, want %v (%w)", have, want, err)
		}
		if !is(conf6+"eth0/accept_ra", "0") {
			return errors.New("eth0 listens to routers")
		}
		return nil
	})
	if got := dropped(t, n, nftables.TableFamilyBridge); got != 0 {
		t.Errorf("%d honest packets were dropped", got)
	}
	n.Release("pod-b")
	if got := neighbours(t, n); !slices.Equal(got, []string{sixA.String()}) {
		t.Errorf("the machine knows %v, want %s alone", got, sixA)
	}
}

// A pod that begins has its address, however many begin: what is sent to it in the first moment arrives.
func TestIPv6IsUsableAtOnce(t *testing.T) {
	n := open6(t)
	const pods = 100
	spaces := make([]*os.File, pods)
	for i := range spaces {
		spaces[i] = newNetns(t)
	}
	begin := func(i int) error {
		uid := fmt.Sprint("pod-", i)
		addr, err := n.Allocate(uid)
		if err != nil {
			return err
		}
		if err := n.Attach(t.Context(), spaces[i], uid, addr, n.Address6(addr)); err != nil {
			return err
		}
		inside, err := udpIn(spaces[i], netip.IPv6Unspecified())
		if err != nil {
			return err
		}
		defer inside.Close()
		to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.Address6(addr), uint16(inside.LocalAddr().(*net.UDPAddr).Port)))
		outside, err := net.DialUDP("udp6", nil, to)
		if err != nil {
			return err
		}
		defer outside.Close()
		if _, err := outside.Write([]byte("?")); err != nil {
			return err
		}
		_ = inside.SetReadDeadline(time.Now().Add(patience))
		_, _, err = inside.ReadFrom(make([]byte, 1))
		return err
	}
	var group sync.WaitGroup
	for i := range pods {
		group.Go(func() {
			if err := begin(i); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// neighbours are those of IPv6 that the machine knows on the bridge without asking.
func neighbours(t *testing.T, n *Network) (known []string) {
	t.Helper()
	list, err := netlink.NeighList(int(n.bridge.Load()), unix.AF_INET6)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		if entry.State == unix.NUD_PERMANENT {
			known = append(known, entry.IP.String())
		}
	}
	return known
}

// outside6 gives the machine next door IPv6, too: 2001:db8::2, which knows of this one only that it is at 2001:db8::1.
func outside6(t *testing.T) *os.File {
	t.Helper()
	next := outside(t)
	add := func(name, address string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		return netlink.AddrAdd(l, a)
	}
	in(t, next, func() error { return add("next", "2001:db8::2/64") })
	if err := errors.Join(add("uplink", "2001:db8::1/64"), netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("2001:db8::2")})); err != nil {
		t.Fatal(err)
	}
	eventually(t, "having the address", func() bool {
		own := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: mask(netip.MustParsePrefix("2001:db8::1/128"))}
		routes, err := netlink.RouteListFiltered(unix.AF_INET6, own, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		return err == nil && len(routes) > 0
	})
	return next
}

func TestOutsideByIPv6(t *testing.T) {
	next := outside6(t)
	n := open6(t)
	a, addrA := pod(t, n, "pod-a")
	if got, err := ask(t, a, serve(t, next, netip.MustParseAddr("2001:db8::2")), patience); err != nil || got != "2001:db8::1" {
		t.Errorf("pod to outside: got %q, %v, want the machine's address", got, err)
	}
	in(t, next, func() error {
		return netlink.RouteAdd(&netlink.Route{Dst: mask(n.PodCIDR6()), Gw: net.ParseIP("2001:db8::1")})
	})
	mayNotBegin(t, n, next, serve(t, a, n.Address6(addrA)), nftables.TableFamilyIPv6)
}
