package service

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
)

// endpoints are all of a Service, also those that are not ready. Slices count for every Service that they name, Endpoints only for one
// without a selector, and only where Kubernetes would make slices of them.
func (b *builder) endpoints(svc *corev1.Service) []Endpoint {
	var list []Endpoint
	families := familiesOf(svc)
	if len(svc.Spec.Selector) > 0 {
		for _, p := range b.pods.selected(svc.Namespace, svc.Spec.Selector) {
			list = appendPod(list, svc, families, p)
		}
	}
	stated := func(more []Endpoint) {
		for i := range more { // names of a headless Service lead to whatever is stated
			if svc.Spec.ClusterIP == corev1.ClusterIPNone || slices.Contains(families, familyOf(more[i].Address)) {
				list = append(list, more[i])
			}
		}
	}
	for _, s := range b.in.Slices {
		if s.Namespace == svc.Namespace && s.Labels[discoveryv1.LabelServiceName] == svc.Name {
			stated(ofSlice(s))
		}
	}
	if len(svc.Spec.Selector) == 0 {
		for _, e := range b.in.Endpoints {
			if e.Namespace == svc.Namespace && e.Name == svc.Name && mirrored(e) {
				stated(ofEndpoints(e))
			}
		}
	}
	slices.SortStableFunc(list, func(x, y Endpoint) int { return x.Address.Compare(y.Address) })
	return list
}

// appendPod adds a pod as a Service sees it, once for each family that both have; one that has come to its end has no address.
func appendPod(list []Endpoint, svc *corev1.Service, families []corev1.IPFamily, p *corev1.Pod) []Endpoint {
	e := Endpoint{Pod: p, Terminating: p.DeletionTimestamp != nil, Serving: ready(p)}
	e.Ready = svc.Spec.PublishNotReadyAddresses || e.Serving && !e.Terminating
	if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name {
		e.Hostname = p.Spec.Hostname
	}
	for _, f := range families {
		var ok bool
		if e.Address, ok = addressOf(p, f); !ok {
			continue
		}
		if e.Ports == nil {
			e.Ports = portsFor(svc, p)
		}
		list = append(list, e)
	}
	return list
}

// portsFor are those of a Service's ports that a pod has.
func portsFor(svc *corev1.Service, p *corev1.Pod) []Port {
	var list []Port
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		if n, ok := targetPort(p, sp); ok {
			list = append(list, Port{Name: sp.Name, Protocol: known(sp.Protocol), Number: n})
		}
	}
	return list
}

// addressOf is where a pod is reached by a family, as long as it may be.
func addressOf(p *corev1.Pod, f corev1.IPFamily) (netip.Addr, bool) {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return netip.Addr{}, false
	}
	if addr, ok := parse(p.Status.PodIP); ok && familyOf(addr) == f {
		return addr, true
	}
	for i := range p.Status.PodIPs {
		if addr, ok := parse(p.Status.PodIPs[i].IP); ok && familyOf(addr) == f {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// OnePerPod are endpoints without the second address of pods that have two: for who chooses among pods, and reaches them by either.
func OnePerPod(list []Endpoint) []Endpoint {
	if !slices.ContainsFunc(list, func(e Endpoint) bool { return e.Address.Is6() }) {
		return list
	}
	seen := map[types.UID]bool{}
	var out []Endpoint
	for i := range list { // by IPv4 where they can be: that is sorted first
		if p := list[i].Pod; p != nil {
			if seen[p.UID] {
				continue
			}
			seen[p.UID] = true
		}
		out = append(out, list[i])
	}
	return out
}

func ready(p *corev1.Pod) bool {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// targetPort finds the port of a pod that a Service's port leads to; false when the pod has none of that name.
func targetPort(p *corev1.Pod, sp *corev1.ServicePort) (uint16, bool) {
	if sp.TargetPort.Type == intstr.Int {
		return uint16(cmp.Or(sp.TargetPort.IntVal, sp.Port)), true
	}
	if n, ok := namedPort(p.Spec.Containers, sp); ok {
		return n, true
	}
	for i := range p.Spec.InitContainers {
		c := p.Spec.InitContainers[i : i+1]
		if reconcile.IsSidecar(&c[0]) {
			if n, ok := namedPort(c, sp); ok {
				return n, true
			}
		}
	}
	return 0, false
}

func namedPort(containers []corev1.Container, sp *corev1.ServicePort) (uint16, bool) {
	for i := range containers {
		for _, port := range containers[i].Ports {
			if port.Name == sp.TargetPort.StrVal && known(port.Protocol) == known(sp.Protocol) {
				return uint16(port.ContainerPort), true
			}
		}
	}
	return 0, false
}

// ofSlice reads the endpoints that a file states. What is not said about one is well.
func ofSlice(s *discoveryv1.EndpointSlice) []Endpoint {
	var ports []Port
	for _, p := range s.Ports {
		if p.Port != nil {
			ports = append(ports, Port{Name: value(p.Name, ""), Protocol: known(value(p.Protocol, "")), Number: uint16(*p.Port)})
		}
	}
	var list []Endpoint
	for i := range s.Endpoints {
		ep := &s.Endpoints[i]
		e := Endpoint{
			Hostname: value(ep.Hostname, ""), Ports: ports, Ready: value(ep.Conditions.Ready, true),
			Serving: value(ep.Conditions.Serving, value(ep.Conditions.Ready, true)), Terminating: value(ep.Conditions.Terminating, false),
		}
		for _, text := range ep.Addresses {
			if addr, ok := parse(text); ok && string(s.AddressType) == string(familyOf(addr)) {
				e.Address = addr
				list = append(list, e)
			}
		}
	}
	return list
}

func ofEndpoints(o *corev1.Endpoints) []Endpoint {
	var list []Endpoint
	for i := range o.Subsets {
		s := &o.Subsets[i]
		ports := make([]Port, 0, len(s.Ports))
		for _, p := range s.Ports {
			ports = append(ports, Port{Name: p.Name, Protocol: known(p.Protocol), Number: uint16(p.Port)})
		}
		for j, addresses := range [][]corev1.EndpointAddress{s.Addresses, s.NotReadyAddresses} {
			for _, a := range addresses {
				if addr, ok := parse(a.IP); ok {
					list = append(list, Endpoint{Address: addr, Hostname: a.Hostname, Ports: ports, Ready: j == 0, Serving: j == 0})
				}
			}
		}
	}
	return list
}

// known is a protocol, TCP where none is said.
func known(p corev1.Protocol) corev1.Protocol { return cmp.Or(p, corev1.ProtocolTCP) }

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// index finds pods by their labels: a thousand Services among ten thousand pods must not look at each pod a thousand times.
type index struct {
	byLabel map[label][]*corev1.Pod
}

type label struct{ namespace, name, value string }

// newIndex is empty where nobody will ask.
func newIndex(services int, pods []Pod) *index {
	if services == 0 {
		return &index{}
	}
	x := &index{byLabel: make(map[label][]*corev1.Pod, len(pods))}
	for i := range pods {
		for name, value := range pods[i].Labels {
			l := label{pods[i].Namespace, name, value}
			x.byLabel[l] = append(x.byLabel[l], pods[i].Pod)
		}
	}
	return x
}

// selected are the pods with all labels of a selector, which has one at least.
func (x *index) selected(namespace string, selector map[string]string) []*corev1.Pod {
	var fewest []*corev1.Pod
	first := true
	for name, value := range selector {
		if list := x.byLabel[label{namespace, name, value}]; first || len(list) < len(fewest) {
			fewest, first = list, false
		}
	}
	var out []*corev1.Pod
	for _, p := range fewest {
		if matches(p.Labels, selector) {
			out = append(out, p)
		}
	}
	return out
}

func matches(labels, selector map[string]string) bool {
	for name, value := range selector {
		if had, ok := labels[name]; !ok || had != value {
			return false
		}
	}
	return true
}
