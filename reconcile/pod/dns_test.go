package pod_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

func TestResolver(t *testing.T) {
	machine := runtime.DNS{Servers: []string{"192.0.2.53"}, Searches: []string{"lan", "svc.cluster.local"}, Options: []string{"ndots:1", "trust-ad"}}
	searches := []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"}
	cluster := runtime.DNS{Servers: []string{"10.3.0.10"}, Searches: searches, Options: []string{"ndots:5"}}
	own := &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.54", "192.0.2.53"}, Searches: []string{"lan", "corp"},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}, {Name: "edns0"}},
	}
	for name, tt := range map[string]struct {
		policy       corev1.DNSPolicy
		own          *corev1.PodDNSConfig
		host, nobody bool
		want         runtime.DNS
	}{
		"ClusterFirst":                           {policy: corev1.DNSClusterFirst, want: cluster},
		"nothing stated":                         {want: cluster},
		"ClusterFirst, nobody serves":            {policy: corev1.DNSClusterFirst, nobody: true, want: runtime.DNS{}},
		"ClusterFirst on the machine's network":  {policy: corev1.DNSClusterFirst, host: true, want: runtime.DNS{}},
		"ClusterFirstWithHostNet":                {policy: corev1.DNSClusterFirstWithHostNet, host: true, want: cluster},
		"ClusterFirstWithHostNet, nobody serves": {policy: corev1.DNSClusterFirstWithHostNet, host: true, nobody: true, want: runtime.DNS{}},
		"Default":                                {policy: corev1.DNSDefault, want: runtime.DNS{}},
		"added to ClusterFirst": {policy: corev1.DNSClusterFirst, own: own, want: runtime.DNS{
			Servers: []string{"10.3.0.10", "192.0.2.54", "192.0.2.53"}, Searches: append(searches[:4:4], "corp"), Options: []string{"ndots:2", "edns0"},
		}},
		"added to Default": {policy: corev1.DNSDefault, own: own, want: runtime.DNS{
			Servers: []string{"192.0.2.53", "192.0.2.54"}, Searches: []string{"lan", "svc.cluster.local", "corp"}, Options: []string{"trust-ad", "ndots:2", "edns0"},
		}},
		"added on the machine's network": {policy: corev1.DNSClusterFirst, own: own, host: true, want: runtime.DNS{
			Servers: []string{"192.0.2.53", "192.0.2.54"}, Searches: []string{"lan", "svc.cluster.local", "corp"}, Options: []string{"trust-ad", "ndots:2", "edns0"},
		}},
		"None": {policy: corev1.DNSNone, own: own, want: runtime.DNS{
			Servers: []string{"192.0.2.54", "192.0.2.53"}, Searches: []string{"lan", "corp"}, Options: []string{"ndots:2", "edns0"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in := fresh()
			in.Node.DNS, in.Node.ClusterDNS, in.Node.ClusterDomain = machine, "10.3.0.10", "cluster.local"
			if tt.nobody {
				in.Node.ClusterDNS = ""
			}
			in.Pod.Spec.DNSPolicy, in.Pod.Spec.DNSConfig, in.Pod.Spec.HostNetwork = tt.policy, tt.own, tt.host
			s, _ := wish(t, in)
			if diff := cmp.Diff(tt.want, s.DNS); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	if machine.Options[0] != "ndots:1" {
		t.Error("the machine's configuration was changed")
	}
}

// Who asks for names waits until somebody answers; who asks elsewhere does not.
func TestSandboxWaitsForNames(t *testing.T) {
	for policy, waits := range map[corev1.DNSPolicy]bool{corev1.DNSClusterFirst: true, corev1.DNSDefault: false, corev1.DNSNone: false} {
		in := fresh()
		in.Node.ClusterDNS, in.Undirected, in.Pod.Spec.DNSPolicy = "10.3.0.10", true, policy
		made := slices.ContainsFunc(pod.Plan(in).Actions, func(a reconcile.Action) bool { _, ok := a.(reconcile.RunSandbox); return ok })
		if made == waits {
			t.Errorf("%s: a sandbox is made: %v", policy, made)
		}
	}
}

func TestResolverLimits(t *testing.T) {
	long := strings.Repeat("x.", 126) + "xx"
	for name, tt := range map[string]struct {
		servers, searches []string
		want              string
		event             string
	}{
		"servers":           {servers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, want: "3 servers, 3 searches", event: "Nameserver limits were exceeded"},
		"searches":          {searches: names(40, "x"), want: "1 servers, 32 searches", event: "Search Line limits were exceeded"},
		"long searches":     {searches: names(20, strings.Repeat("x", 190)), want: "1 servers, 13 searches", event: "Search Line limits were exceeded"},
		"a search too long": {searches: []string{long, "lan"}, want: "1 servers, 4 searches", event: "Search Line limits were exceeded"},
		"all fit":           {servers: []string{"192.0.2.1", "192.0.2.2"}, searches: names(29, "x"), want: "3 servers, 32 searches"},
	} {
		t.Run(name, func(t *testing.T) {
			in := fresh()
			in.Node.ClusterDNS = "10.3.0.10"
			in.Pod.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: tt.servers, Searches: tt.searches}
			s, _ := wish(t, in)
			got := fmt.Sprintf("%d servers, %d searches", len(s.DNS.Servers), len(s.DNS.Searches))
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			event := ""
			for _, a := range pod.Plan(in).Actions {
				if e, ok := a.(reconcile.RecordEvent); ok && e.Reason == "DNSConfigForming" && e.Warning {
					event, _, _ = strings.Cut(e.Message, ",")
				}
			}
			if event != tt.event {
				t.Errorf("event %q, want %q", event, tt.event)
			}
		})
	}
}

func names(n int, prefix string) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

func TestFullNameEndsInTheDomain(t *testing.T) {
	in := fresh()
	in.Node.ClusterDomain = "example.org"
	in.Pod.Spec.Hostname, in.Pod.Spec.Subdomain, in.Pod.Spec.SetHostnameAsFQDN = "h", "sub", new(true)
	if s, _ := wish(t, in); s.FQDN != "h.sub.shop.svc.example.org" || s.Hostname != s.FQDN {
		t.Errorf("got %q, %q", s.FQDN, s.Hostname)
	}
}
