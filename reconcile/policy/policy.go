// Package policy turns NetworkPolicies into a table of who may connect to whom, as plain data.
//
// A pod is restricted in a direction when a policy of its namespace selects it and is about that direction; then it may do what any of those
// policies allows, and nothing else. A connection needs both: its source may go out to its target, and its target may be reached by its source.
//
// What is alike is said once: pods with the same rules are a group, and what selects peers is a set. Both are named for what they are made of, so
// that pods come and go in them and no rule changes.
package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/runtime"
)

// Input is what the table is made of. Nothing in it is changed.
type Input struct {
	Policies []*networkingv1.NetworkPolicy
	Pods     []Pod
	// Namespaces are the labels of those that have some beside their name.
	Namespaces map[string]labels.Set
	// DNS is the address of the cluster's names; the zero value for none. It counts as a pod that policies for clusters know: in kube-system, with
	// the label k8s-app=kube-dns and port 53.
	DNS netip.Addr
}

// Pod is one with the address that the machine has given it; the zero value for none yet. A pod in the machine's network has none of its own:
// no policy selects it, and its connections are the machine's.
type Pod struct {
	*corev1.Pod
	Address netip.Addr
	// Address6 is its other one, of IPv6; the zero value for none. The same rules are about both.
	Address6 netip.Addr
}

// Table is who may connect to whom.
type Table struct {
	runtime.Policies
	// Judged are all pods that it knows, restricted or not, by the address they have there.
	Judged map[types.UID]netip.Addr
}

// The pod that answers for names, where there is a cluster.
const (
	dnsNamespace = metav1.NamespaceSystem
	dnsApp       = "kube-dns"
	dnsPort      = 53
)

// TableOf makes the table.
func TableOf(in Input) Table {
	b := builder{in: in, byNamespace: map[string][]*end{}, sets: map[string]*set{}}
	t := Table{Judged: b.place()}
	for _, p := range in.Policies {
		b.apply(p)
	}
	groups := map[string]*runtime.PolicyGroup{}
	for _, e := range b.ends {
		for _, d := range directions {
			e.join(d, groups)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		t.Groups = append(t.Groups, *groups[name])
	}
	named := map[string]bool{}
	for i := range t.Groups {
		slices.SortFunc(t.Groups[i].Pods, netip.Addr.Compare)
		for _, r := range t.Groups[i].Rules {
			named[r.Peers] = true
		}
	}
	for _, set := range b.sets {
		if named[set.Name] {
			t.Peers = append(t.Peers, set.PolicyPeers)
		}
	}
	slices.SortFunc(t.Peers, func(x, y runtime.PolicyPeers) int { return cmp.Compare(x.Name, y.Name) })
	return t
}

var directions = []runtime.Direction{runtime.Incoming, runtime.Outgoing}

// builder makes a table.
type builder struct {
	in          Input
	ends        []*end // sorted by address
	byNamespace map[string][]*end
	sets        map[string]*set // by what selects them
}

// set is some pods.
type set struct {
	runtime.PolicyPeers
	ends map[*end]bool
}

// end is a possible end of a connection.
type end struct {
	namespace string
	labels    labels.Set
	ports     []corev1.ContainerPort // named ones
	addr      netip.Addr
	addr6     netip.Addr // the zero value for none
	// rules are what policies allow it; nil while none restricts it in this direction.
	rules map[runtime.Direction]map[string]runtime.PolicyRule // by their text
}

// place finds the pods that have an address. One address is two pods' only while the table is behind the machine; it is given out again long after
// its pod has gone, so it is the younger one's.
func (b *builder) place() map[types.UID]netip.Addr {
	judged := map[types.UID]netip.Addr{}
	holders := map[netip.Addr]Pod{}
	for _, p := range b.in.Pods {
		if p.Spec.HostNetwork || !p.Address.Is4() {
			continue
		}
		if old, ok := holders[p.Address]; ok && !old.CreationTimestamp.Before(&p.CreationTimestamp) {
			continue
		}
		holders[p.Address] = p
	}
	for addr, p := range holders {
		judged[p.UID] = addr
		b.add(&end{namespace: p.Namespace, labels: p.Labels, ports: namedPorts(&p.Spec), addr: addr, addr6: p.Address6})
	}
	if b.in.DNS.IsValid() {
		b.byNamespace[dnsNamespace] = append(b.byNamespace[dnsNamespace], &end{
			namespace: dnsNamespace, labels: labels.Set{"k8s-app": dnsApp}, addr: b.in.DNS, ports: []corev1.ContainerPort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, ContainerPort: dnsPort}, {Name: "dns-tcp", Protocol: corev1.ProtocolTCP, ContainerPort: dnsPort},
			},
		})
	}
	slices.SortFunc(b.ends, func(x, y *end) int { return x.addr.Compare(y.addr) })
	return judged
}

func (b *builder) add(e *end) {
	b.ends = append(b.ends, e)
	b.byNamespace[e.namespace] = append(b.byNamespace[e.namespace], e)
}

// namedPorts are the ports with names of what runs as long as the pod does.
func namedPorts(spec *corev1.PodSpec) []corev1.ContainerPort {
	var out []corev1.ContainerPort
	take := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.Name != "" {
				p.Protocol = cmp.Or(p.Protocol, corev1.ProtocolTCP)
				out = append(out, p)
			}
		}
	}
	for i := range spec.Containers {
		take(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		if c := &spec.InitContainers[i]; reconcile.IsSidecar(c) {
			take(c)
		}
	}
	return out
}

// apply restricts the pods that a policy selects.
func (b *builder) apply(p *networkingv1.NetworkPolicy) {
	selected, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		return // nobody has let it in
	}
	var pods []*end
	for _, e := range b.byNamespace[p.Namespace] {
		if e.addr != b.in.DNS && selected.Matches(e.labels) {
			pods = append(pods, e)
		}
	}
	if len(pods) == 0 {
		return
	}
	for _, d := range directions {
		if slices.Contains(typesOf(&p.Spec), d) {
			b.restrict(pods, d, b.rulesOf(p, d))
		}
	}
}

// typesOf are the directions that a policy is about: where it does not say, incoming connections, and outgoing ones when it has rules for them.
func typesOf(spec *networkingv1.NetworkPolicySpec) []runtime.Direction {
	var out []runtime.Direction
	for _, t := range spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			out = append(out, runtime.Incoming)
		case networkingv1.PolicyTypeEgress:
			out = append(out, runtime.Outgoing)
		}
	}
	switch {
	case len(spec.PolicyTypes) > 0:
		return out
	case len(spec.Egress) > 0:
		return directions
	}
	return directions[:1]
}

// restrict lets pods do what the rules say, beside what they may already.
func (b *builder) restrict(pods []*end, d runtime.Direction, rules []rule) {
	for _, e := range pods {
		if e.rules == nil {
			e.rules = map[runtime.Direction]map[string]runtime.PolicyRule{}
		}
		if e.rules[d] == nil {
			e.rules[d] = map[string]runtime.PolicyRule{}
		}
	}
	for i := range rules {
		r := &rules[i]
		if len(r.names) == 0 {
			text := textOf(r.PolicyRule)
			for _, e := range pods {
				e.rules[d][text] = r.PolicyRule
			}
			continue
		}
		for _, e := range pods { // a name is a port of the pod that is connected to
			n := r.PolicyRule
			n.Ports = sortPorts(append(slices.Clone(n.Ports), e.portsNamed(r.names)...))
			if len(n.Ports) > 0 {
				e.rules[d][textOf(n)] = n
			}
		}
	}
}

// join puts a pod into the group of those with the same rules.
func (e *end) join(d runtime.Direction, groups map[string]*runtime.PolicyGroup) {
	rules, restricted := e.rules[d]
	if !restricted {
		return
	}
	texts := slices.Sorted(maps.Keys(rules))
	name := nameOf(string(d), strings.Join(texts, "\n"))
	g := groups[name]
	if g == nil {
		g = &runtime.PolicyGroup{Name: name, Direction: d}
		for _, text := range texts {
			g.Rules = append(g.Rules, rules[text])
		}
		groups[name] = g
	}
	g.Pods = e.appendTo(g.Pods)
}

// appendTo adds the addresses of an end to a list.
func (e *end) appendTo(list []netip.Addr) []netip.Addr {
	if list = append(list, e.addr); e.addr6.IsValid() {
		list = append(list, e.addr6)
	}
	return list
}

// nameOf is a name for a text: 64 bits of its hash.
func nameOf(prefix, text string) string {
	sum := sha256.Sum256([]byte(text))
	return prefix + "-" + hex.EncodeToString(sum[:8])
}
