package network

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// firewalls are how machines look that drop what they forward.
var firewalls = map[string]struct {
	rules []string
	want  []string // in the warnings, each once
}{
	"ufw": {[]string{
		"iptables -N ufw-user-input", "iptables -N ufw-user-forward", "iptables -N ufw-before-forward",
		"iptables -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "iptables -A FORWARD -j ufw-before-forward",
		"iptables -A FORWARD -j ufw-user-forward", "iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "iptables -A INPUT -i lo -j ACCEPT",
		"iptables -A INPUT -j ufw-user-input", "iptables -P FORWARD DROP", "iptables -P INPUT DROP",
	}, []string{"`ufw route allow in on BRIDGE`", "`ufw allow in on BRIDGE to any port PORT`"}},
	"Docker": {[]string{
		"iptables -N DOCKER-USER", "iptables -A DOCKER-USER -j RETURN", "iptables -A FORWARD -j DOCKER-USER", "iptables -P FORWARD DROP",
	}, []string{"`iptables -I DOCKER-USER -i BRIDGE -j ACCEPT`"}},
	"firewalld": {[]string{
		"nft add table inet firewalld", "nft add chain inet firewalld filter_FORWARD { type filter hook forward priority 10 ; }",
		"nft add rule inet firewalld filter_FORWARD ct state established,related accept", "nft add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited",
	}, []string{"`firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE`"}},
	"of one's own": {[]string{
		"nft add table inet mine", "nft add chain inet mine guard { type filter hook forward priority 0 ; policy drop ; }",
	}, []string{"chain guard of table inet mine by its policy", "`nft insert rule inet mine guard iifname BRIDGE accept`"}},
}

func sh(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// wantOpened makes two pods, of which the second, which it returns, reaches the first at what address makes of its own when rules are allowed, and not before.
func wantOpened(t *testing.T, n *Network, address func(netip.Addr) netip.Addr) *os.File {
	t.Helper()
	a, addrA := pod(t, n, "pod-a")
	b, _ := pod(t, n, "pod-b")
	server := serve(t, a, address(addrA))
	if _, err := ask(t, b, server, blocked); err == nil {
		t.Error("the firewall does not cut what is said to be cut")
	}
	n.cfg.AllowFirewall = true
	if err := n.testPaths(t.Context()); err != nil || len(n.Warnings()) > 0 {
		t.Fatalf("after opening: %v, %v", err, n.Warnings())
	}
	if _, err := ask(t, b, server, patience); err != nil {
		t.Errorf("pod to pod: %v", err)
	}
	return b
}

func TestFirewalls(t *testing.T) {
	for _, program := range []string{"iptables", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("this test plays firewalls with %s: e2e/deps.sh installs it", program)
		}
	}
	for name, tt := range firewalls {
		t.Run(name, func(t *testing.T) {
			outside(t)
			n := open(t)
			machine := machineNetns(t)
			dns := echo(t, machine, n.Gateway(), "dns")
			n.mustServe(t, dns)
			if err := n.testPaths(t.Context()); err != nil || len(n.Warnings()) > 0 {
				t.Fatalf("without a firewall: %v, %v", err, n.Warnings())
			}
			t.Cleanup(func() { sh(t, "nft flush ruleset") })
			for _, r := range tt.rules {
				sh(t, strings.NewReplacer("{", "'{", "}", "}'").Replace(r))
			}
			// The rules, without what they have counted, and without berth's own tables.
			foreign := func() string {
				var all string
				for table := range strings.Lines(sh(t, "nft list tables")) {
					if !strings.Contains(table, " berth-") {
						all += sh(t, "nft -s list "+table)
					}
				}
				return all
			}
			before := foreign()
			start := time.Now()
			if err := n.testPaths(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("found in %v: %q", time.Since(start), n.Warnings())
			text := strings.Join(n.Warnings(), "\n")
			for _, want := range tt.want {
				want = strings.NewReplacer("BRIDGE", n.Bridge(), "PORT", fmt.Sprint(dns.Port())).Replace(want)
				if !strings.Contains(text, want) {
					t.Errorf("got %q, want %q in it", text, want)
				}
			}
			b := wantOpened(t, n, func(addr netip.Addr) netip.Addr { return addr })
			if got, err := say(dialUDP(t, b, n.ClusterDNS().String()+":53")); err != nil || got != "dns" {
				t.Errorf("the DNS: got %q, %v", got, err)
			}
			t.Log(sh(t, "iptables -S")) // reads what was put in
			removeUnder(t, n)
			if after := foreign(); after != before {
				t.Errorf("before %s\nafter %s", before, after)
			}
		})
	}
}

// What a firewall drops of IPv6 alone is said, and opened where that is asked for.
func TestFirewallsByIPv6(t *testing.T) {
	for name, tt := range map[string]struct {
		rules []string
		want  string
	}{
		"Docker": {[]string{
			"ip6tables -N DOCKER-USER", "ip6tables -A DOCKER-USER -j RETURN", "ip6tables -A FORWARD -j DOCKER-USER", "ip6tables -P FORWARD DROP",
		}, "from pod to pod by IPv6 and from pods to the outside by IPv6: chain FORWARD of table ip6 filter by its policy; to open it: `ip6tables -I DOCKER-USER -i BRIDGE -j ACCEPT`"},
		"of one's own, for both": {[]string{
			"nft add table inet mine", "nft add chain inet mine guard '{ type filter hook forward priority 0 ; policy drop ; }'",
		}, "from pod to pod and from pods to the outside and from pod to pod by IPv6 and from pods to the outside by IPv6: chain guard of table inet mine"},
	} {
		t.Run(name, func(t *testing.T) {
			outside6(t)
			n := open6(t)
			if err := n.testPaths(t.Context()); err != nil || len(n.Warnings()) > 0 {
				t.Fatalf("without a firewall: %v, %v", err, n.Warnings())
			}
			t.Cleanup(func() { sh(t, "nft flush ruleset") })
			for _, r := range tt.rules {
				sh(t, r)
			}
			if err := n.testPaths(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(n.Warnings(), "\n"); !strings.Contains(got, strings.ReplaceAll(tt.want, "BRIDGE", n.Bridge())) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
			wantOpened(t, n, n.Address6)
			t.Log(sh(t, "ip6tables -S")) // reads what was put in
			removeUnder(t, n)
			if got := sh(t, "nft list ruleset"); strings.Contains(got, n.Bridge()) {
				t.Errorf("something is left: %s", got)
			}
		})
	}
}
