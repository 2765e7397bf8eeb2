package cli

import (
	"fmt"
	"testing"

	"berth/runtime/acme"
)

func TestOptionsOfUp(t *testing.T) {
	a := &app{stateDir: "/s", runDir: "/r"}
	for name, tt := range map[string]struct {
		o    upOptions
		want string
	}{
		"nobody is asked for certificates": {upOptions{}, "  []"},
		"Let's Encrypt":                    {upOptions{acmeEmail: "me@a.test"}, acme.LetsEncrypt + " me@a.test []"},
		"another authority":                {upOptions{acmeDirectory: "https://ca.test/dir"}, "https://ca.test/dir  []"},
		"no address":                       {upOptions{acmeEmail: "me"}, `cannot use --acme-email "me": it is no address`},
		"two addresses":                    {upOptions{acmeEmail: "me@a.test,you@a.test"}, `cannot use --acme-email "me@a.test,you@a.test": it is no address`},
		"an authority in the clear":        {upOptions{acmeDirectory: "http://ca.test/dir"}, `cannot use --acme-directory "http://ca.test/dir": it begins with https://`},
		"load balancers":                   {upOptions{forwarders: []string{"192.0.2.7", "2001:db8::/32"}}, "  [192.0.2.7/32 2001:db8::/32]"},
		"no load balancer":                 {upOptions{forwarders: []string{"lb.test"}}, `cannot use --proxy-protocol-from: netip.ParsePrefix("lb.test"): no '/'`},
	} {
		t.Run(name, func(t *testing.T) {
			opts, err := a.daemonOptions(tt.o)
			got := fmt.Sprint(opts.ACMEDirectory, " ", opts.ACMEEmail, " ", opts.Forwarders)
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRanges(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "invalid Prefix invalid Prefix",
		"10.42.0.0/16":                 "10.42.0.0/16 invalid Prefix",
		"10.42.0.0/16,fd00:42::/56":    "10.42.0.0/16 fd00:42::/56",
		"fd00:42::/56, 10.42.0.0/16":   "10.42.0.0/16 fd00:42::/56",
		"fd00:42::/56":                 "invalid Prefix fd00:42::/56",
		"10.42.0.0/16,":                "",
		"10.42.0.0/16,10.43.0.0/16":    "",
		"fd00::/56,fd01::/56,fd02::/8": "",
		"10.42.0.0":                    "",
	} {
		four, six, err := ranges(text)
		if got := fmt.Sprint(four, " ", six); err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %s, %v, want %q", text, got, err, want)
		}
	}
}
