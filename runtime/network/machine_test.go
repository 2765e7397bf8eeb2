package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/runtime"
)

func TestDecideRange(t *testing.T) {
	p := netip.MustParsePrefix
	kept, other := p("10.210.16.0/20"), p("10.220.0.0/20")
	tests := map[string]struct {
		asked, kept netip.Prefix
		found       findings
		want        netip.Prefix // zero: any free one
		err         string
	}{
		"kept":                            {kept: kept, want: kept},
		"kept, and its bridge is there":   {kept: kept, found: findings{own: kept}, want: kept},
		"kept is taken by now":            {kept: kept, found: findings{taken: []netip.Prefix{p("10.210.0.0/16")}}},
		"taken, but pods are on it":       {kept: kept, found: findings{own: kept, ports: true, taken: []netip.Prefix{p("10.210.0.0/16")}}, want: kept},
		"state lost, pods are there":      {found: findings{own: other, ports: true}, want: other},
		"asked for":                       {asked: p("10.1.2.3/24"), kept: kept, want: p("10.1.2.0/24")},
		"asked for, taken":                {asked: p("10.1.0.0/16"), found: findings{taken: []netip.Prefix{p("10.1.2.0/24")}}, err: "10.1.2.0/24"},
		"asked for another, pods run":     {asked: p("10.1.0.0/16"), found: findings{own: kept, ports: true}, err: "berth down"},
		"asked for another, no pods":      {asked: p("10.1.0.0/16"), found: findings{own: kept}, want: p("10.1.0.0/16")},
		"halves of a default route":       {kept: kept, found: findings{taken: []netip.Prefix{p("0.0.0.0/1"), p("128.0.0.0/1")}}, want: kept},
		"all of 10 belongs to a company":  {found: findings{taken: []netip.Prefix{p("10.0.0.0/8")}}},
		"every private network is in use": {found: findings{taken: []netip.Prefix{p("10.0.0.0/8"), p("172.16.0.0/12"), p("192.168.0.0/16")}}, err: "--pod-cidr"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := decideRange(Config{ID: "0123abcd", PodCIDR: tt.asked}, tt.kept, tt.found)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if err != nil {
				return
			}
			if tt.want.IsValid() && got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			for _, taken := range tt.found.taken {
				if !tt.want.IsValid() && taken.Overlaps(got) {
					t.Errorf("got %s, which overlaps %s", got, taken)
				}
			}
		})
	}
}

func TestDecideServices(t *testing.T) {
	p := netip.MustParsePrefix
	kept, pods := p("10.230.16.0/20"), p("10.210.16.0/20")
	tests := map[string]struct {
		asked, kept netip.Prefix
		taken       []netip.Prefix
		want        netip.Prefix // zero: any free one
		err         string
	}{
		"fresh":                     {},
		"kept":                      {kept: kept, want: kept},
		"kept is taken by now":      {kept: kept, taken: []netip.Prefix{p("10.230.0.0/16")}},
		"asked for":                 {asked: p("10.96.3.0/12"), kept: kept, want: p("10.96.0.0/12")},
		"asked for that of pods":    {asked: p("10.210.0.0/16"), err: pods.String()},
		"asked for, taken":          {asked: p("10.96.0.0/12"), taken: []netip.Prefix{p("10.100.0.0/24")}, err: "10.100.0.0/24"},
		"too small for the DNS":     {asked: p("10.96.0.0/29"), err: "16 addresses"},
		"not IPv4":                  {asked: p("fd00::/108"), err: "IPv4"},
		"the pods took what I kept": {kept: pods},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := decideServices(Config{ID: "0123abcd", ServiceCIDR: tt.asked}, tt.kept, append(tt.taken, pods))
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("got error %v, want %q", err, tt.err)
			}
			if err != nil {
				return
			}
			if tt.want.IsValid() && got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			for _, taken := range append(tt.taken, pods) {
				if taken.Overlaps(got) {
					t.Errorf("got %s, which overlaps %s", got, taken)
				}
			}
		})
	}
	if got := place(kept, dnsPlace); got.String() != "10.230.16.10" {
		t.Errorf("DNS: got %s", got)
	}
}

func TestResolvConf(t *testing.T) {
	const upstream = "nameserver 192.0.2.53\nnameserver fd00::53\nsearch lan\n"
	tests := map[string]struct {
		conf, upstream string
		want           runtime.DNS
	}{
		"plain":                 {"# c\nnameserver 192.0.2.1\nnameserver 192.0.2.1\nsearch a b\noptions ndots:2 edns0\n", "", runtime.DNS{Servers: []string{"192.0.2.1"}, Searches: []string{"a", "b"}, Options: []string{"ndots:2", "edns0"}}},
		"systemd-resolved":      {"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", upstream, runtime.DNS{Servers: []string{"192.0.2.53"}, Searches: []string{"lan"}}},
		"a loopback among real": {"nameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver ::1\n", upstream, runtime.DNS{Servers: []string{"192.0.2.1"}}},
		"IPv6 only":             {"nameserver fd00::1\nnameserver fe80::1%eth0\n", "", runtime.DNS{Servers: []string{"fd00::1"}}},
		"a cloud's":             {"nameserver 169.254.169.254\n", "", runtime.DNS{Servers: []string{"169.254.169.254"}}},
		"only loopback":         {"nameserver 127.0.0.1\nsearch x\n", "", runtime.DNS{Searches: []string{"x"}}},
		"nonsense":              {"nameserver\nnameserver example.com\nfoo bar\n", "", runtime.DNS{}},
		"the last search wins":  {"search a\nsearch b c\n", "", runtime.DNS{Searches: []string{"b", "c"}}},
		"no file":               {"", "", runtime.DNS{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"conf": tt.conf, "up": tt.upstream} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := resolvConfFrom(filepath.Join(dir, "conf"), filepath.Join(dir, "up"))
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestStateSurvives(t *testing.T) {
	dir := t.TempDir()
	want := state{PodCIDR: netip.MustParsePrefix("10.210.16.0/20"), ServiceCIDR: netip.MustParsePrefix("10.230.0.0/20"), settings: settings{ForwardingWasOff: true, RedirectsWereOn: true}}
	if err := writeState(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readState(dir); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for name, text := range map[string]string{"zeros": "\x00\x00\x00", "cut": `{"podCIDR":"10.2`, "empty": "", "wrong": `{"podCIDR":"x"}`} {
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readState(dir); err != nil || got != (state{}) {
			t.Errorf("%s: got %v, %v, want nothing", name, got, err)
		}
	}
}
