package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// open6 opens an instance whose pods have IPv6.
func open6(t *testing.T) *Network {
	t.Helper()
	cfg := newConfig(t)
	cfg.IPv6 = true
	return openWith(t, cfg)
}

func TestDecideRanges6(t *testing.T) {
	p := netip.MustParsePrefix
	kept, other := p("fd12:3456:789a:1::/116"), p("fd12:3456:789a:7::/64")
	tests := map[string]struct {
		asked, kept netip.Prefix
		found       findings
		want        netip.Prefix // zero: any free one
		err         string
	}{
		"fresh":                         {},
		"kept":                          {kept: kept, want: kept},
		"kept is taken by now":          {kept: kept, found: findings{taken6: []netip.Prefix{p("fd12:3456::/32")}}},
		"taken, but pods are on it":     {kept: kept, found: findings{own6: kept, ports: true, taken6: []netip.Prefix{p("fd12:3456::/32")}}, want: kept},
		"asked for":                     {asked: p("2001:db8:1:2::3/64"), kept: kept, want: p("2001:db8:1:2::/64")},
		"asked for, taken":              {asked: other, found: findings{taken6: []netip.Prefix{p("fd12:3456:789a:7::5/128")}}, err: "fd12:3456:789a:7::5/128"},
		"asked for another, pods run":   {asked: other, found: findings{own6: kept, ports: true}, err: "berth down"},
		"asked for, pods are of IPv4":   {asked: other, found: findings{ports: true}, want: other},
		"too small":                     {asked: p("fd00::/117"), err: "4096"},
		"link-local":                    {asked: p("fe80::/64"), err: "IPv6 range"},
		"multicast":                     {asked: p("ff02::/64"), err: "IPv6 range"},
		"IPv4":                          {asked: p("10.0.0.0/8"), err: "IPv6 range"},
		"halves of a default route":     {kept: kept, found: findings{taken6: []netip.Prefix{p("::/1"), p("8000::/1"), p("2000::/3"), p("fc00::/7")}}, want: kept},
		"all private networks are used": {found: findings{taken6: []netip.Prefix{p("fd00::/8")}}, err: "--pod-cidr"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{ID: "0123abcd", IPv6: true, PodCIDR6: tt.asked}
			got, err := decideRanges6(cfg, state{PodCIDR6: tt.kept}, state{}, tt.found)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if err != nil {
				return
			}
			if tt.want.IsValid() && got.PodCIDR6 != tt.want {
				t.Errorf("got %s, want %s", got.PodCIDR6, tt.want)
			}
			if !got.IPv6 || got.PodCIDR6.Overlaps(got.ServiceCIDR6) || got.PodCIDR6.Masked() != got.PodCIDR6 || got.ServiceCIDR6.Bits() != serviceBits {
				t.Errorf("got %+v", got)
			}
			for _, taken := range tt.found.taken6 {
				if !tt.want.IsValid() && taken.Overlaps(got.PodCIDR6) {
					t.Errorf("got %s, which overlaps %s", got.PodCIDR6, taken)
				}
			}
			again, _ := decideRanges6(Config{ID: "0123abcd"}, got, state{}, tt.found)
			if again.IPv6 || again.PodCIDR6 != got.PodCIDR6 || again.ServiceCIDR6 != got.ServiceCIDR6 {
				t.Errorf("without it: %+v, want the ranges kept", again)
			}
		})
	}
}

// Somebody takes a table of IPv6 away.
func TestIPv6TablesComeBack(t *testing.T) {
	n := open6(t)
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, "10.0.0.2:80"))
	before := rulesOf(n)
	run(t, n)
	for _, table := range []string{n.cfg.table(), n.cfg.services()} {
		conn := &nftables.Conn{}
		conn.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyIPv6})
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "restoring", func() bool { return fmt.Sprint(rulesOf(n)) == fmt.Sprint(before) })
}

// What is switched off is gone, but for the pods that have it; and it comes back as it was.
func TestIPv6OnAndOff(t *testing.T) {
	before := machineState(t)
	cfg := newConfig(t)
	n := mustOpen(t, cfg)
	off := machineState(t)
	a, addrA := pod(t, n, "pod-a")
	reopen := func(on bool) {
		t.Helper()
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.IPv6 = on
		n = mustOpen(t, cfg)
		if err := n.Reserve("pod-a", addrA); err != nil {
			t.Fatal(err)
		}
	}
	if n.Address6(addrA).IsValid() || n.PodCIDR6().IsValid() || n.ServiceCIDR6().IsValid() || n.Gateway6().IsValid() {
		t.Error("there is IPv6 that nobody has asked for")
	}
	reopen(true)
	b, addrB := pod(t, n, "pod-b")
	pods, services := n.PodCIDR6(), n.ServiceCIDR6()
	if got, err := ask(t, b, serve(t, a, addrA), patience); err != nil || got != addrB.String() {
		t.Errorf("to a pod from before: got %q, %v", got, err)
	}
	server := serve(t, b, n.Address6(addrB))
	if _, err := askHere(server, patience); err != nil {
		t.Error(err)
	}
	again, err := Open(t.Context(), Config{ID: cfg.ID, StateDir: cfg.StateDir, IPv6AsKept: true})
	if err != nil || again.PodCIDR6() != pods {
		t.Errorf("as kept: %v, %v", again.PodCIDR6(), err)
	}
	_ = again.Close()
	reopen(false)
	if got := slices.DeleteFunc(machineState(t), func(s string) bool { return strings.HasPrefix(s, "link "+cfg.prefix()) }); !slices.Equal(got, off) {
		t.Errorf("switched off:\ngot  %v\nwant %v", got, off)
	}
	if _, err := askHere(server, blocked); err == nil {
		t.Error("a pod is reached by what is switched off")
	}
	reopen(true)
	if err := n.Reserve("pod-b", addrB); err != nil {
		t.Fatal(err)
	}
	if n.PodCIDR6() != pods || n.ServiceCIDR6() != services {
		t.Errorf("the ranges are %s and %s, were %s and %s", n.PodCIDR6(), n.ServiceCIDR6(), pods, services)
	}
	if _, err := askHere(server, patience); err != nil {
		t.Errorf("switched on again: %v", err)
	}
	removeUnder(t, n)
	if after := machineState(t); !slices.Equal(before, after) {
		t.Errorf("something is left or missing:\nbefore %v\nafter  %v", before, after)
	}
}

// Who asks for what the machine has not is told so, and who only wants to take all down can.
func TestNoIPv6(t *testing.T) {
	in(t, newNetns(t), func() error {
		if err := checkIPv6(1280); err != nil {
			return err
		}
		if err := checkIPv6(1279); err == nil || !strings.Contains(err.Error(), "1280") {
			return fmt.Errorf("with a small MTU: %w", err)
		}
		if err := set(conf6+"all/disable_ipv6", "1"); err != nil {
			return err
		}
		if err := checkIPv6(1500); err == nil || !strings.Contains(err.Error(), "net.ipv6.conf.all.disable_ipv6") {
			return fmt.Errorf("switched off: %w", err)
		}
		return nil
	})
	next := outside(t)
	cfg := newConfig(t)
	cfg.IPv6 = true
	n := mustOpen(t, cfg)
	mtu := func(size int) {
		t.Helper()
		l, err := netlink.LinkByName("uplink")
		if err == nil {
			err = netlink.LinkSetMTU(l, size)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mtu(1000)
	_ = n.Close()
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "1280") {
		t.Errorf("opened again: %v", err)
	}
	cfg.IPv6, cfg.IPv6AsKept = false, true
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	mtu(1400)
	a, addrA := pod(t, n, "pod-a")
	if got, err := ask(t, a, serve(t, next, netip.MustParseAddr("198.51.100.2")), patience); err != nil || n.Address6(addrA).IsValid() {
		t.Errorf("got %q, %v, IPv6 %v", got, err, n.Address6(addrA))
	}
	removeUnder(t, n)
}
