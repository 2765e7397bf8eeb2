package proxy

import (
	"net/netip"
	"testing"
)

// The headers are those of the specification, byte by byte.
func TestProxyHeader(t *testing.T) {
	four, port := netip.MustParseAddrPort("192.0.2.7:4660"), netip.MustParseAddrPort("198.18.0.1:80")
	six, port6 := netip.MustParseAddrPort("[2001:db8::7]:4660"), netip.MustParseAddrPort("[2001:db8::1]:80")
	const signature = "\r\n\r\n\x00\r\nQUIT\n\x21"
	tests := map[string]struct {
		version    int
		client, to netip.AddrPort
		want       string
	}{
		"1, IPv4": {1, four, port, "PROXY TCP4 192.0.2.7 198.18.0.1 4660 80\r\n"},
		"1, IPv6": {1, six, port6, "PROXY TCP6 2001:db8::7 2001:db8::1 4660 80\r\n"},
		"2, IPv4": {2, four, port, signature + "\x11\x00\x0c\xc0\x00\x02\x07\xc6\x12\x00\x01\x12\x34\x00\x50"},
		"2, IPv6": {2, six, port6, signature + "\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x12\x34\x00\x50"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(proxyHeader(tc.version, tc.client, tc.to)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
