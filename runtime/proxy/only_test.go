package proxy

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

func TestAdmitting(t *testing.T) {
	free, some, none := netip.MustParseAddrPort("10.1.0.2:80"), netip.MustParseAddrPort("10.1.0.3:80"), netip.MustParseAddrPort("10.1.0.4:80")
	c := newChooser()
	c.restrict([]runtime.BackendSources{
		{Backend: some, Sources: []runtime.AddrRange{{First: netip.MustParseAddr("192.0.2.0"), Last: netip.MustParseAddr("192.0.2.9")}}}, {Backend: none},
	})
	tests := map[string]struct {
		client         string
		backends, want []netip.AddrPort
	}{
		"in the range":      {"192.0.2.9", []netip.AddrPort{none, some, free}, []netip.AddrPort{some, free}},
		"not in the range":  {"192.0.2.10", []netip.AddrPort{none, some, free}, []netip.AddrPort{free}},
		"nobody is left":    {"192.0.2.10", []netip.AddrPort{none, some}, nil},
		"by IPv6":           {"2001:db8::1", []netip.AddrPort{some, free}, []netip.AddrPort{free}},
		"this machine":      {"127.0.0.1", []netip.AddrPort{none, some, free}, []netip.AddrPort{none, some, free}},
		"nobody restricted": {"192.0.2.10", []netip.AddrPort{free}, []netip.AddrPort{free}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := c.admitting(netip.MustParseAddr(tt.client), tt.backends)
			if len(got) == 0 {
				got = nil
			}
			if d := cmp.Diff(tt.want, got, cmp.Comparer(func(x, y netip.AddrPort) bool { return x == y })); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
