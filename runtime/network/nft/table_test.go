package nft

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

func backends(names ...byte) []backend {
	var all []backend
	for _, n := range names {
		all = append(all, backend{n})
	}
	return all
}

func TestPlace(t *testing.T) {
	tests := map[string]struct{ had, backends, want []backend }{
		"first":                     {nil, backends(1, 2, 3), backends(1, 2, 3)},
		"one more":                  {backends(1, 2), backends(1, 2, 3), backends(1, 2, 3)},
		"one replaced":              {backends(1, 2, 3), backends(1, 3, 4), backends(1, 4, 3)},
		"one less":                  {backends(1, 2, 3), backends(1, 3), backends(1, 1, 3)},
		"one back":                  {backends(1, 1, 3), backends(1, 2, 3), backends(2, 1, 3)},
		"all replaced":              {backends(1, 2, 3), backends(7), backends(7, 7, 7)},
		"none":                      {backends(1, 2, 3), nil, nil},
		"spread over those left":    {backends(1, 2, 3, 4), backends(3, 4), backends(3, 4, 3, 4)},
		"more than places, one new": {backends(1, 1), backends(1, 2, 3), backends(2, 1, 3)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, place(tt.had, tt.backends)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestPlaceHoldsEveryBackendAndMovesNobody(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var had []backend
	for range 2000 {
		var now []backend
		for n := range byte(8) {
			if random.IntN(2) == 0 {
				now = append(now, backend{n + 1})
			}
		}
		got := place(had, now)
		for _, b := range now {
			if !slices.Contains(got, b) {
				t.Fatalf("%v after %v: %v lacks %v", now, had, got, b)
			}
			if before := numbersOf(had, b); len(before) == 1 && got[before[0]] != b {
				t.Fatalf("%v after %v: %v moved %v", now, had, got, b)
			}
		}
		for _, b := range got {
			if !slices.Contains(now, b) {
				t.Fatalf("%v after %v: %v has %v", now, had, got, b)
			}
		}
		if len(now) > 0 {
			had = got
		}
	}
}

func numbersOf(all []backend, b backend) []int {
	var numbers []int
	for n, other := range all {
		if other == b {
			numbers = append(numbers, n)
		}
	}
	return numbers
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
