package proxy

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParseHeader(t *testing.T) {
	const v2 = signature + "\x21"
	four := "192.0.2.7:4660 198.18.0.1:80"
	for name, tt := range map[string]struct{ in, want string }{
		"1, IPv4":                 {"PROXY TCP4 192.0.2.7 198.18.0.1 4660 80\r\n", four},
		"1, IPv6":                 {"PROXY TCP6 2001:db8::7 2001:db8::1 4660 80\r\n", "[2001:db8::7]:4660 [2001:db8::1]:80"},
		"1, its own":              {"PROXY UNKNOWN\r\n", "own"},
		"1, unknown with more":    {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "own"},
		"2, IPv4":                 {v2 + "\x11\x00\x0c\xc0\x00\x02\x07\xc6\x12\x00\x01\x12\x34\x00\x50", four},
		"2, with more":            {v2 + "\x11\x00\x10\xc0\x00\x02\x07\xc6\x12\x00\x01\x12\x34\x00\x50\x04\x00\x01\x00", four},
		"2, its own":              {signature + "\x20\x11\x00\x0c\xc0\x00\x02\x07\xc6\x12\x00\x01\x12\x34\x00\x50", "own"},
		"2, of no family":         {v2 + "\x00\x00\x00", "own"},
		"plain":                   {"GET / HTTP/1.1\r\n", "error"},
		"another version":         {signature + "\x31\x11\x00\x0c", "error"},
		"2, too short":            {v2 + "\x11\x00\x04\x01\x02\x03\x04", "error"},
		"2, too long":             {v2 + "\x11\xff\xff", "error"},
		"1, of two families":      {"PROXY TCP4 192.0.2.7 2001:db8::1 4660 80\r\n", "error"},
		"1, of the other family":  {"PROXY TCP6 192.0.2.7 198.18.0.1 4660 80\r\n", "error"},
		"1, no port":              {"PROXY TCP4 192.0.2.7 198.18.0.1 4660 65536\r\n", "error"},
		"1, no address":           {"PROXY TCP4 192.0.2 198.18.0.1 4660 80\r\n", "error"},
		"1, a zone":               {"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", "error"},
		"1, without an end":       {"PROXY TCP4 " + strings.Repeat("1", 200), "error"},
		"1, another protocol":     {"PROXY UDP4 192.0.2.7 198.18.0.1 4660 80\r\n", "error"},
		"1, words that are there": {"PROXY TCP4\r\n", "error"},
	} {
		t.Run(name, func(t *testing.T) {
			f, size, err := parseHeader([]byte(tt.in + "data"))
			got := f.client.String() + " " + f.to.String()
			switch {
			case err != nil:
				got = "error"
			case !f.client.IsValid():
				got = "own"
			}
			if got != tt.want || err == nil && size != len(tt.in) {
				t.Errorf("got %s, %d of %d bytes, want %s", got, size, len(tt.in), tt.want)
			}
			for n := range tt.in { // in parts, until the last one there is no telling, or it is an error already
				if _, size, err := parseHeader([]byte(tt.in[:n])); size != 0 || err != nil && tt.want != "error" {
					t.Errorf("of %d bytes it says %d, %v", n, size, err)
				}
			}
		})
	}
}

// What is sent to pods is what is understood from forwarders.
func TestHeadersAreUnderstood(t *testing.T) {
	for _, pair := range [][2]string{{"192.0.2.7:4660", "198.18.0.1:80"}, {"[2001:db8::7]:1", "[2001:db8::1]:65535"}} {
		want := forwarded{netip.MustParseAddrPort(pair[0]), netip.MustParseAddrPort(pair[1])}
		for version := 1; version <= 2; version++ {
			header := proxyHeader(version, want.client, want.to)
			if got, size, err := parseHeader(header); got != want || size != len(header) || err != nil {
				t.Errorf("version %d of %v: %v, %d of %d, %v", version, want, got, size, len(header), err)
			}
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 198.18.0.1 4660 80\r\n"))
	f.Add([]byte(signature + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x12\x00\x01\x12\x34\x00\x50"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, size, err := parseHeader(b)
		if size > len(b) || size > longestHeader || err != nil && !errors.Is(err, errNoHeader) || got.client.IsValid() != got.to.IsValid() {
			t.Errorf("%q: %v, %d, %v", b, got, size, err)
		}
	})
}
