package pod

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth/runtime"
)

// What a resolver takes, as the kubelet counts it: resolvers leave out more servers, and glibc aborts at a search path that is no name.
const (
	maxServers, maxSearches         = 3, 32
	maxSearchLength, maxSearchesSum = 253, 2048
)

// domain is what the names of Services end in.
func (p *pass) domain() string {
	if d := p.in.Node.ClusterDomain; d != "" {
		return d
	}
	return "cluster.local"
}

// resolver is the Pod's resolver configuration; the zero value for the machine's own. What of it no resolver would take is left out with an event.
func (p *pass) resolver() runtime.DNS {
	dns := p.base()
	own := p.pod.Spec.DNSConfig
	if own != nil {
		dns.Servers, dns.Searches = joined(dns.Servers, own.Nameservers), joined(dns.Searches, own.Searches)
		for _, o := range own.Options {
			text := o.Name
			if o.Value != nil {
				text += ":" + *o.Value
			}
			dns.Options = append(withoutOption(dns.Options, o.Name), text)
		}
	}
	if len(dns.Servers) > maxServers {
		dns.Servers = dns.Servers[:maxServers]
		p.note(true, "DNSConfigForming", "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(dns.Servers, " "))
	}
	if fitting := fittingSearches(dns.Searches); len(fitting) < len(dns.Searches) {
		dns.Searches = fitting
		p.note(true, "DNSConfigForming", "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(fitting, " "))
	}
	return dns
}

// base is what the Pod's own configuration is added to. On the machine's network ClusterFirst means the machine's resolver, as in Kubernetes:
// ClusterFirstWithHostNet asks for the other.
func (p *pass) base() runtime.DNS {
	spec, node := &p.pod.Spec, &p.in.Node
	switch cluster := p.asksCluster(); {
	case spec.DNSPolicy == corev1.DNSNone, spec.DNSConfig == nil && !cluster:
		return runtime.DNS{}
	case !cluster:
		return runtime.DNS{Servers: slices.Clone(node.DNS.Servers), Searches: slices.Clone(node.DNS.Searches), Options: slices.Clone(node.DNS.Options)}
	}
	domain := p.domain()
	return runtime.DNS{
		Servers:  []string{node.ClusterDNS},
		Searches: joined([]string{p.pod.Namespace + ".svc." + domain, "svc." + domain, domain}, node.DNS.Searches),
		Options:  []string{"ndots:5"},
	}
}

// asksCluster tells whether the Pod's names are asked of the server that knows Services, where there is one.
func (p *pass) asksCluster() bool {
	switch p.pod.Spec.DNSPolicy {
	case corev1.DNSDefault, corev1.DNSNone:
		return false
	case corev1.DNSClusterFirstWithHostNet:
		return p.in.Node.ClusterDNS != ""
	default: // ClusterFirst, also where nothing is stated
		return p.in.Node.ClusterDNS != "" && !p.pod.Spec.HostNetwork
	}
}

// fittingSearches are the first of the search paths, as many as a resolver takes.
func fittingSearches(searches []string) []string {
	var out []string
	sum := -1 // there is no space before the first
	for _, s := range searches[:min(len(searches), maxSearches)] {
		if len(s) > maxSearchLength {
			continue
		}
		if sum += 1 + len(s); sum > maxSearchesSum {
			break
		}
		out = append(out, s)
	}
	return out
}

func joined(a, b []string) []string {
	out := append([]string(nil), a...)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func withoutOption(options []string, name string) []string {
	return slices.DeleteFunc(options, func(o string) bool {
		had, _, _ := strings.Cut(o, ":")
		return had == name
	})
}
