package policy

import (
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"berth/runtime"
)

// What is allowed to a pod is allowed by both of its addresses; a block is of one family, and means what is in it.
func TestPoliciesOfBothFamilies(t *testing.T) {
	http := port("http", 8080, "")
	six := func(p Pod, addr string) Pod {
		p.Address6 = netip.MustParseAddr(addr)
		return p
	}
	pods := []Pod{
		six(pod("shop", "web", "10.0.0.2", labels.Set{"app": "web"}, http), "fd00::2"),
		six(pod("shop", "db", "10.0.0.3", labels.Set{"app": "db"}, http), "fd00::3"),
		six(pod("shop", "job", "10.0.0.4", labels.Set{"app": "job"}, http), "fd00::4"),
	}
	const toDB = `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: "2001:db8::/32"}}]}]}`
	const named = `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: "fd00::3/128"}}], ports: [{port: http}]}]}`
	tests := map[string]struct {
		policy, from, to string
		want             bool
	}{
		"a peer by IPv4":             {toDB, "10.0.0.2", "10.0.0.3", true},
		"a peer by IPv6":             {toDB, "fd00::2", "fd00::3", true},
		"no peer by IPv4":            {toDB, "10.0.0.4", "10.0.0.3", false},
		"no peer by IPv6":            {toDB, "fd00::4", "fd00::3", false},
		"somebody in the block":      {toDB, "2001:db8::1", "fd00::3", true},
		"somebody beside it":         {toDB, "2001:db9::1", "fd00::3", false},
		"a name in the block":        {named, "fd00::2", "fd00::3", true},
		"its other address":          {named, "10.0.0.2", "10.0.0.3", false},
		"the same name elsewhere":    {named, "fd00::2", "fd00::4", false},
		"one that is not restricted": {named, "fd00::4", "fd00::3", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			table := TableOf(Input{Pods: pods, Policies: []*networkingv1.NetworkPolicy{policyOf(t, "shop", tt.policy)}})
			if got := table.allows(netip.MustParseAddr(tt.from), netip.MustParseAddr(tt.to), runtime.TCP, 8080); got != tt.want {
				t.Errorf("allowed: %v", got)
			}
		})
	}
}
