package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestAliasOfSettings(t *testing.T) {
	all := settings{true, true, settings6{true, "eth0 wlan0.5,1"}}
	for _, s := range []settings{{}, all, {RedirectsWereOn: true}, {settings6: settings6{Forwarding6WasOff: true}}, {ForwardingWasOff: true, settings6: settings6{Advertised: "eth0"}}} {
		if got := settingsOf(s.alias()); got != s {
			t.Errorf("%q is read as %+v, want %+v", s.alias(), got, s)
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprint("eth", i))
	}
	all.Advertised = strings.Join(many, " ")
	got := settingsOf(all.alias())
	if len(all.alias()) > longestAlias || !got.Forwarding6WasOff || !strings.HasPrefix(all.Advertised, got.Advertised+" ") {
		t.Errorf("%d bytes: %+v", len(all.alias()), got)
	}
}

// A machine that learns its way out from its router keeps it: routers do not listen to each other, and forwarding makes a router of it.
func TestTheRouterIsStillBelieved(t *testing.T) {
	next := outside(t)
	uplink, err := netlink.LinkByName("uplink")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "learning the way out", func() bool { advertise(t, next, 1800); return haveWay(uplink) })
	before := machineState(t)
	cfg := newConfig(t)
	cfg.IPv6 = true
	n := mustOpen(t, cfg)
	if !haveWay(uplink) {
		t.Error("the way out is lost")
	}
	advertise(t, next, 0)
	eventually(t, "listening", func() bool { return !haveWay(uplink) })
	advertise(t, next, 1800)
	eventually(t, "listening", func() bool { return haveWay(uplink) })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = mustOpen(t, cfg)
	if !haveWay(uplink) || !is(conf6+"uplink/accept_ra", "2") {
		t.Error("a second run does not believe")
	}
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := machineState(t); !slices.Equal(before, after) {
		t.Errorf("something is left or missing:\nbefore %v\nafter  %v", before, after)
	}
}

// advertise says next door, to all on the wire, that fe80::99 is a router for so many seconds.
func advertise(t *testing.T, next *os.File, lifetime uint16) {
	t.Helper()
	in(t, next, func() error {
		l, err := netlink.LinkByName("next")
		if err != nil {
			return err
		}
		from, to := netip.MustParseAddr("fe80::99"), netip.MustParseAddr("ff02::1")
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		frame := icmp6(l.Attrs().HardwareAddr, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, from, to, 134, 64, 0, byte(lifetime>>8), byte(lifetime), 0, 0, 0, 0, 0, 0, 0, 0)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index})
	})
}

// haveWay says whether an interface leads to fe80::99 by its own word.
func haveWay(l netlink.Link) bool {
	routes, err := netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_PROTOCOL)
	return err == nil && slices.ContainsFunc(routes, func(r netlink.Route) bool {
		return r.LinkIndex == l.Attrs().Index && r.Gw.Equal(net.ParseIP("fe80::99"))
	})
}
