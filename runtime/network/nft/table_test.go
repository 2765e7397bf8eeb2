package nft

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"berth/runtime"
)

func backends(names ...byte) []backend {
	var all []backend
	for _, n := range names {
		all = append(all, numberedBackend(n))
	}
	return all
}

func numberedBackend(n byte) backend { return backend{address: address{n}} }

// seats are backends by their numbers; a negative one is lent.
func seats(names ...int) []seat {
	var all []seat
	for _, n := range names {
		all = append(all, seat{numberedBackend(byte(max(n, -n))), n < 0})
	}
	return all
}

func TestPlace(t *testing.T) {
	tests := map[string]struct {
		had      []seat
		backends []backend
		want     []seat
	}{
		"first":                     {nil, backends(1, 2, 3), seats(1, 2, 3)},
		"one more":                  {seats(1, 2), backends(1, 2, 3), seats(1, 2, 3)},
		"one replaced":              {seats(1, 2, 3), backends(1, 3, 4), seats(1, 4, 3)},
		"one less":                  {seats(1, 2, 3), backends(1, 3), seats(1, -1, 3)},
		"one back":                  {seats(1, -1, 3), backends(1, 2, 3), seats(1, -1, 3, 2)},
		"one back, many are lent":   {seats(1, -1, -1, -1), backends(1, 2), seats(1, 2, -1, -1)},
		"all replaced":              {seats(1, 2, 3), backends(7), seats(7, -7, -7)},
		"none":                      {seats(1, 2, 3), nil, nil},
		"spread over those left":    {seats(1, 2, 3, 4), backends(3, 4), seats(-3, -4, 3, 4)},
		"more than places, one new": {seats(1, -1), backends(1, 2, 3), seats(1, -1, 2, 3)},
		"who has borrowed leaves":   {seats(1, -1, 3), backends(3), seats(-3, -3, 3)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, place(tt.had, tt.backends), cmp.AllowUnexported(seat{}, backend{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestPlaceHoldsEveryBackendAndMovesNobody(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var had []seat
	for range 2000 {
		var now []backend
		for n := range byte(8) {
			if random.IntN(2) == 0 {
				now = append(now, numberedBackend(n+1))
			}
		}
		got := place(had, now)
		for _, b := range now {
			if !slices.Contains(got, seat{backend: b}) {
				t.Fatalf("%v after %v: %v lacks %v", now, had, got, b)
			}
		}
		for n, s := range had {
			if !s.lent && slices.Contains(now, s.backend) && got[n] != s {
				t.Fatalf("%v after %v: %v moved %v", now, had, got, s)
			}
		}
		for _, s := range got {
			if !slices.Contains(now, s.backend) {
				t.Fatalf("%v after %v: %v has %v", now, had, got, s)
			}
		}
		if len(got) > 2*8 {
			t.Fatalf("%v after %v: %v are too many", now, had, got)
		}
		if len(now) > 0 {
			had = got
		}
	}
}

func TestCompute(t *testing.T) {
	inRange := netip.MustParsePrefix("10.96.0.0/16")
	dns, cluster := netip.MustParseAddrPort("10.1.0.1:5353"), netip.MustParseAddr("10.96.0.10")
	to := func(all ...string) []netip.AddrPort {
		var ports []netip.AddrPort
		for _, a := range all {
			ports = append(ports, netip.MustParseAddrPort(a))
		}
		return ports
	}
	service := func(addr, external string, p runtime.ServicePort) runtime.Service {
		s := runtime.Service{ClusterIPs: []netip.Addr{netip.MustParseAddr(addr)}, Ports: []runtime.ServicePort{p}}
		if external != "" {
			s.ExternalIPs = []netip.Addr{netip.MustParseAddr(external)}
		}
		return s
	}
	tests := map[string]struct {
		services                 []runtime.Service
		dns                      netip.AddrPort
		ports, backends, refused int
	}{
		"nothing":                  {},
		"the DNS":                  {dns: dns, ports: 2, backends: 2},
		"the DNS is nobody else's": {services: []runtime.Service{service("10.96.0.10", "", runtime.ServicePort{Protocol: runtime.TCP, Port: 53, Backends: to("10.1.0.9:1", "10.1.0.9:2")})}, dns: dns, ports: 2, backends: 2},
		"two of three":             {services: []runtime.Service{service("10.96.0.1", "", runtime.ServicePort{Protocol: runtime.TCP, Port: 80, Backends: to("10.1.0.2:80", "127.0.0.1:80", "10.1.0.3:80")})}, ports: 1, backends: 2},
		"external":                 {services: []runtime.Service{service("10.96.0.1", "203.0.113.1", runtime.ServicePort{Protocol: runtime.UDP, Port: 80, Backends: to("10.1.0.2:80")})}, ports: 2, backends: 2},
		"external without":         {services: []runtime.Service{service("10.96.0.1", "203.0.113.1", runtime.ServicePort{Protocol: runtime.TCP, Port: 80})}, refused: 1},
		"an address it cannot be":  {services: []runtime.Service{service("169.254.169.254", "127.0.0.1", runtime.ServicePort{Protocol: runtime.TCP, Port: 80, Backends: to("10.1.0.2:80")})}},
		"SCTP":                     {services: []runtime.Service{service("10.96.0.1", "", runtime.ServicePort{Protocol: "sctp", Port: 80, Backends: to("10.1.0.2:80")})}},
		"IPv6":                     {services: []runtime.Service{service("fd00::1", "", runtime.ServicePort{Protocol: runtime.TCP, Port: 80, Backends: to("10.1.0.2:80")})}},
		"IPv6 behind":              {services: []runtime.Service{service("10.96.0.1", "", runtime.ServicePort{Protocol: runtime.TCP, Port: 80, Backends: to("[fd00::2]:80")})}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := compute(nil, tt.services, cluster, tt.dns, inRange)
			if len(got.ports) != tt.ports || len(got.backends) != tt.backends || len(got.refused) != tt.refused {
				t.Errorf("got %d ports, %d backends, %d refused: %v", len(got.ports), len(got.backends), len(got.refused), got)
			}
		})
	}
}

// The kernel is asked what it remembers only when something of it may be wrong: of a busy machine that is much.
func TestStale(t *testing.T) {
	inRange := netip.MustParsePrefix("10.1.0.0/16")
	vip, outside := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("192.0.2.7")
	with := func(protocol runtime.Protocol, addr netip.Addr, backends ...string) []runtime.Service {
		p := runtime.ServicePort{Protocol: protocol, Port: 80}
		for _, b := range backends {
			p.Backends = append(p.Backends, netip.MustParseAddrPort(b))
		}
		return []runtime.Service{{ClusterIPs: []netip.Addr{addr}, Ports: []runtime.ServicePort{p}}}
	}
	const a, b = "10.0.0.2:8080", "10.0.0.3:8080"
	tests := map[string]struct {
		old, now  []runtime.Service
		protocols []uint8
		gone      string // "" for none
	}{
		"the same":             {with(runtime.TCP, vip, a, b), with(runtime.TCP, vip, b, a), nil, ""},
		"one came":             {with(runtime.TCP, vip, a), with(runtime.TCP, vip, b, a), nil, ""},
		"one left":             {with(runtime.TCP, vip, a, b), with(runtime.TCP, vip, b), []uint8{unix.IPPROTO_TCP}, a},
		"all left":             {with(runtime.TCP, vip, a), with(runtime.TCP, vip), []uint8{unix.IPPROTO_TCP}, a},
		"the Service left":     {with(runtime.UDP, vip, a), nil, []uint8{unix.IPPROTO_UDP}, a},
		"an address came":      {nil, with(runtime.UDP, outside, a), []uint8{unix.IPPROTO_UDP}, "192.0.2.7:80"},
		"what was is unknown":  {nil, with(runtime.TCP, vip, b), []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}, a},
		"a protocol was taken": {with(runtime.TCP, vip, a), with(runtime.UDP, vip, a), []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var old *table
			if name != "what was is unknown" {
				old = compute(nil, tt.old, netip.Addr{}, netip.AddrPort{}, inRange)
			}
			s := compute(old, tt.now, netip.Addr{}, netip.AddrPort{}, inRange).stale(old, inRange)
			if d := cmp.Diff(tt.protocols, s.Protocols); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if tt.gone == "" {
				return
			}
			to := netip.AddrPortFrom(vip, 80)
			if name == "an address came" {
				to = netip.AddrPortFrom(outside, 80)
			}
			if !s.Is(s.Protocols[0], to, netip.MustParseAddrPort(tt.gone)) {
				t.Errorf("what went to %s may stay", tt.gone)
			}
			for _, service := range tt.now {
				for _, stays := range service.Ports[0].Backends {
					if s.Is(s.Protocols[0], to, stays) {
						t.Errorf("what goes to %s may not stay", stays)
					}
				}
			}
		})
	}
}
