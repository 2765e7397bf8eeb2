package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/runtime"
)

// rule is one that may need the pod that is connected to before its ports are known.
type rule struct {
	runtime.PolicyRule
	names []portName
}

// portName is a port as pods call it.
type portName struct {
	protocol corev1.Protocol
	name     string
}

// rulesOf are what a policy allows in a direction.
func (b *builder) rulesOf(p *networkingv1.NetworkPolicy, d runtime.Direction) []rule {
	var out []rule
	if d == runtime.Incoming {
		for i := range p.Spec.Ingress {
			r := &p.Spec.Ingress[i]
			numbers, names := portsOf(r.Ports)
			peers := b.peersOf(p.Namespace, r.From)
			peers.Ports = numbers
			out = append(out, rule{peers.PolicyRule, names})
		}
		return out
	}
	for i := range p.Spec.Egress {
		r := &p.Spec.Egress[i]
		numbers, names := portsOf(r.Ports)
		peers := b.peersOf(p.Namespace, r.To)
		for _, name := range names {
			for _, n := range b.named(&peers, name) {
				out = append(out, rule{PolicyRule: n})
			}
		}
		if len(names) == 0 || len(numbers) > 0 {
			peers.Ports = numbers
			out = append(out, rule{PolicyRule: peers.PolicyRule})
		}
	}
	return out
}

// peers are the other ends that a rule allows.
type peers struct {
	runtime.PolicyRule
	text string
	set  *set // of those that are selected; nil for none
}

// peersOf finds who is meant: with no peer at all, everybody.
func (b *builder) peersOf(namespace string, list []networkingv1.NetworkPolicyPeer) peers {
	if len(list) == 0 {
		return peers{PolicyRule: runtime.PolicyRule{Everybody: true}}
	}
	var out peers
	var texts []string
	var selectors []selector
	for i := range list {
		if list[i].IPBlock != nil {
			out.Blocks = append(out.Blocks, blockOf(list[i].IPBlock)...)
			continue
		}
		if s, ok := selectorOf(namespace, &list[i]); ok {
			texts, selectors = append(texts, s.text), append(selectors, s)
		}
	}
	out.Blocks = merge(out.Blocks)
	if len(selectors) == 0 {
		return out
	}
	slices.Sort(texts)
	out.text = strings.Join(slices.Compact(texts), "|")
	out.set = b.set(out.text, func() map[*end]bool { return b.selected(selectors) })
	out.Peers = out.set.Name
	return out
}

// selector is what a peer without addresses says.
type selector struct {
	namespace        string // the only one, "" for those that are selected
	namespaces, pods labels.Selector
	text             string
}

func selectorOf(namespace string, p *networkingv1.NetworkPolicyPeer) (selector, bool) {
	s := selector{namespace: namespace, namespaces: labels.Everything(), pods: labels.Everything()}
	var err error
	if p.PodSelector != nil {
		if s.pods, err = metav1.LabelSelectorAsSelector(p.PodSelector); err != nil {
			return s, false
		}
	}
	if p.NamespaceSelector != nil {
		s.namespace = ""
		if s.namespaces, err = metav1.LabelSelectorAsSelector(p.NamespaceSelector); err != nil {
			return s, false
		}
	}
	s.text = fmt.Sprintf("%s/%s/%s", s.namespace, s.namespaces, s.pods)
	return s, true
}

// selected are the pods that at least one selector means.
func (b *builder) selected(selectors []selector) map[*end]bool {
	found := map[*end]bool{}
	for _, s := range selectors {
		for namespace, ends := range b.byNamespace {
			if s.namespace != "" && s.namespace != namespace || s.namespace == "" && !s.namespaces.Matches(b.labelsOf(namespace)) {
				continue
			}
			for _, e := range ends {
				if s.pods.Matches(e.labels) {
					found[e] = true
				}
			}
		}
	}
	return found
}

// labelsOf are those of a namespace. Each has its name as a label.
func (b *builder) labelsOf(namespace string) labels.Set {
	all := labels.Set{corev1.LabelMetadataName: namespace}
	maps.Copy(all, b.in.Namespaces[namespace])
	return all
}

// set is the one for a text, which says all of what is in it.
func (b *builder) set(text string, find func() map[*end]bool) *set {
	if s := b.sets[text]; s != nil {
		return s
	}
	s := &set{PolicyPeers: runtime.PolicyPeers{Name: nameOf("peers", text)}, ends: find()}
	for e := range s.ends {
		s.Pods = e.appendTo(s.Pods)
	}
	slices.SortFunc(s.Pods, netip.Addr.Compare)
	b.sets[text] = s
	return s
}

// named are the rules for a port that each pod has under a name: one for each number that there is. Whoever is no pod has no names.
func (b *builder) named(to *peers, name portName) []runtime.PolicyRule {
	byNumber := map[uint16]map[*end]bool{}
	for _, ends := range b.byNamespace {
		for _, e := range ends {
			meant := e
			if !to.Everybody && (to.set == nil || !to.set.ends[e]) {
				if meant = e.within(to.Blocks); meant == nil {
					continue
				}
			}
			for _, p := range e.portsNamed([]portName{name}) {
				if byNumber[p.First] == nil {
					byNumber[p.First] = map[*end]bool{}
				}
				byNumber[p.First][meant] = true
			}
		}
	}
	var out []runtime.PolicyRule
	for _, n := range slices.Sorted(maps.Keys(byNumber)) {
		text := fmt.Sprintf("%s:%v %v:%s/%s=%d", to.text, to.Everybody, to.Blocks, name.protocol, name.name, n)
		out = append(out, runtime.PolicyRule{
			Peers: b.set(text, func() map[*end]bool { return byNumber[n] }).Name, Ports: []runtime.PortRange{{Protocol: protocolOf(&name.protocol), First: n, Last: n}},
		})
	}
	return out
}

// within is an end with those of its addresses that are in some blocks; nil when none is.
func (e *end) within(blocks []runtime.AddrRange) *end {
	switch first, second := contains(blocks, e.addr), e.addr6.IsValid() && contains(blocks, e.addr6); {
	case first && (second || !e.addr6.IsValid()):
		return e
	case first:
		return &end{addr: e.addr}
	case second:
		return &end{addr: e.addr6}
	}
	return nil
}

// portsNamed are the numbers of an end's ports with these names, sorted.
func (e *end) portsNamed(names []portName) []runtime.PortRange {
	var out []runtime.PortRange
	for _, p := range e.ports {
		if slices.Contains(names, portName{p.Protocol, p.Name}) {
			out = append(out, runtime.PortRange{Protocol: protocolOf(&p.Protocol), First: uint16(p.ContainerPort), Last: uint16(p.ContainerPort)})
		}
	}
	return sortPorts(out)
}

// portsOf tells apart what is known at once and what is a name. None of either is every port of every protocol.
func portsOf(list []networkingv1.NetworkPolicyPort) (numbers []runtime.PortRange, names []portName) {
	for i := range list {
		p := &list[i]
		switch {
		case p.Port == nil:
			numbers = append(numbers, runtime.PortRange{Protocol: protocolOf(p.Protocol), Last: lastPort})
		case p.Port.Type == intstr.Int:
			r := runtime.PortRange{Protocol: protocolOf(p.Protocol), First: uint16(p.Port.IntVal), Last: uint16(p.Port.IntVal)}
			if p.EndPort != nil {
				r.Last = uint16(*p.EndPort)
			}
			numbers = append(numbers, r)
		default:
			names = append(names, portName{corev1.Protocol(strings.ToUpper(string(protocolOf(p.Protocol)))), p.Port.StrVal})
		}
	}
	return sortPorts(numbers), names
}

const lastPort = 1<<16 - 1

// protocolOf is TCP where nothing is said.
func protocolOf(p *corev1.Protocol) runtime.Protocol {
	if p == nil || *p == "" {
		return runtime.TCP
	}
	return runtime.Protocol(strings.ToLower(string(*p)))
}

func sortPorts(list []runtime.PortRange) []runtime.PortRange {
	slices.SortFunc(list, func(x, y runtime.PortRange) int {
		return cmp.Or(cmp.Compare(x.Protocol, y.Protocol), cmp.Compare(x.First, y.First), cmp.Compare(x.Last, y.Last))
	})
	return slices.Compact(list)
}

// textOf says all of a rule: two with the same text are the same.
func textOf(r runtime.PolicyRule) string { return fmt.Sprint(r) }
