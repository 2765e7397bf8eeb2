package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/runtime"
)

// Reasons of problems, as events show them. The Router adds its own.
const (
	ReasonAddress  = "AddressUnavailable"
	ReasonPort     = "PortUnavailable"
	ReasonProtocol = "UnsupportedProtocol"
	ReasonRange    = "InvalidSourceRange"
)

// annotationSources is the old word for spec.loadBalancerSourceRanges.
const annotationSources = "service.beta.kubernetes.io/load-balancer-source-ranges"

// wanted is a port of the machine that somebody wants, and since when. Of two the older gets it.
type wanted struct {
	runtime.PublishedPort
	since time.Time
}

func (b *builder) problem(owner, reason, message string) {
	b.problems = append(b.problems, runtime.RouteProblem{Owner: owner, Reason: reason, Message: message})
}

// want notes the ports of the machine that a Service's port asks for.
func (b *builder) want(svc *corev1.Service, p *corev1.ServicePort, protocol runtime.Protocol, backends []netip.AddrPort) {
	key := reconcile.KeyOf(svc)
	w := wanted{since: svc.CreationTimestamp.Time, PublishedPort: runtime.PublishedPort{
		Protocol: protocol, Owner: key.String(), Backends: backends, AffinitySeconds: affinity(svc),
		ShowClient: svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}}
	if p.NodePort != 0 && b.claims.nodePorts[nodePort{known(p.Protocol), p.NodePort}] == key {
		w.Port = uint16(p.NodePort)
		b.wanted = append(b.wanted, w)
	}
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	w.Port = uint16(p.Port)
	if text := svc.Spec.LoadBalancerIP; text != "" {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			b.problem(key.String(), ReasonAddress, fmt.Sprintf("loadBalancerIP %q is not an address", text))
			return
		}
		w.Address = unbound(addr)
	}
	sources, err := sourceRanges(svc)
	if err != nil {
		b.problem(key.String(), ReasonRange, err.Error()) // open to nobody rather than to everybody
		return
	}
	w.Sources = sources
	if protocol == runtime.TCP {
		w.ProxyProtocol = proxyProtocol(svc)
	}
	b.wanted = append(b.wanted, w)
}

// unbound is the zero value for the address that means all of them.
func unbound(addr netip.Addr) netip.Addr {
	if addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr
}

func sourceRanges(svc *corev1.Service) ([]netip.Prefix, error) {
	list := svc.Spec.LoadBalancerSourceRanges
	if text := strings.TrimSpace(svc.Annotations[annotationSources]); len(list) == 0 && text != "" {
		list = strings.Split(text, ",")
	}
	var out []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("cannot read the source range %q: nobody may connect", text)
		}
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out), nil
}

// hostPort is one port that the pods of one workload share.
type hostPort struct {
	workload reconcile.Key
	protocol corev1.Protocol
	address  netip.Addr
	port     int32
}

// tiers are the pods behind a host port, the best first: ready ones, ending ones that still serve, and those that only run. A host port does not
// wait for readiness in Kubernetes, and there may be somebody who needs it to become ready.
type tiers struct {
	since    time.Time
	backends [3][]netip.AddrPort
	pods     []*corev1.Pod
}

// hostPorts notes the ports that pods want. Those in the machine's network open theirs themselves.
func (b *builder) hostPorts() {
	found := map[hostPort]*tiers{}
	var order []hostPort
	for i := range b.in.Pods {
		p := &b.in.Pods[i]
		addr, ok := addressOf(p.Pod, corev1.IPv4Protocol)
		if !ok || p.Spec.HostNetwork {
			continue
		}
		for _, port := range portsOf(&p.Spec) {
			h := hostPort{workload: p.Workload, protocol: known(port.Protocol), port: port.HostPort}
			if a, err := netip.ParseAddr(port.HostIP); err == nil {
				h.address = unbound(a)
			}
			t := found[h]
			if t == nil {
				t = &tiers{since: p.Since}
				found[h] = t
				order = append(order, h)
			}
			t.add(p.Pod, netip.AddrPortFrom(addr, uint16(port.ContainerPort)))
		}
	}
	for _, h := range order {
		b.wantHostPort(h, found[h])
	}
}

func (t *tiers) add(p *corev1.Pod, backend netip.AddrPort) {
	switch serving, ending := ready(p), p.DeletionTimestamp != nil; {
	case serving && !ending:
		t.backends[0] = append(t.backends[0], backend)
		t.pods = append(t.pods, p)
	case serving:
		t.backends[1] = append(t.backends[1], backend)
	case !ending:
		t.backends[2] = append(t.backends[2], backend)
	}
}

func (b *builder) wantHostPort(h hostPort, t *tiers) {
	protocol, ok := protocolOf(h.protocol)
	if !ok {
		b.problem(h.workload.String(), ReasonProtocol, fmt.Sprintf("hostPort %d: %s is not carried, only TCP and UDP are", h.port, h.protocol))
		return
	}
	w := wanted{since: t.since, PublishedPort: runtime.PublishedPort{
		Protocol: protocol, Address: h.address, Port: uint16(h.port), Owner: h.workload.String(),
		ShowClient: true, // as the plugin does that gives pods their host ports on a cluster
	}}
	for _, list := range t.backends {
		if len(list) > 0 {
			w.Backends = unique(list)
			break
		}
	}
	for _, p := range t.pods {
		b.table.Held[p.UID] = true
	}
	b.wanted = append(b.wanted, w)
}

// Publishes tells that a pod of this spec wants ports of the machine.
func Publishes(spec *corev1.PodSpec) bool { return !spec.HostNetwork && len(portsOf(spec)) > 0 }

// portsOf are the host ports that a pod's containers state.
func portsOf(spec *corev1.PodSpec) []corev1.ContainerPort {
	var out []corev1.ContainerPort
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.HostPort > 0 {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// publish gives each port of the machine to the oldest who wants it; the others are told who has it.
func (b *builder) publish() {
	slices.SortStableFunc(b.wanted, func(x, y wanted) int {
		return cmp.Or(x.since.Compare(y.since), cmp.Compare(x.Owner, y.Owner), x.Address.Compare(y.Address))
	})
	type place struct {
		protocol runtime.Protocol
		port     uint16
	}
	taken := map[place][]*runtime.PublishedPort{}
	var out []*runtime.PublishedPort
next:
	for i := range b.wanted {
		w := &b.wanted[i].PublishedPort
		at := place{w.Protocol, w.Port}
		for _, other := range taken[at] {
			switch {
			case !overlap(other.Address, w.Address):
				continue
			case other.Owner == w.Owner && other.Address == w.Address:
				other.Backends = unique(append(slices.Clone(other.Backends), w.Backends...))
			case other.Owner != w.Owner:
				b.problem(w.Owner, ReasonPort, fmt.Sprintf("port %d/%s of this machine is that of %s, which is older", w.Port, w.Protocol, other.Owner))
			}
			continue next
		}
		taken[at] = append(taken[at], w)
		out = append(out, w)
	}
	for _, p := range out {
		b.table.Traffic.Ports = append(b.table.Traffic.Ports, *p)
	}
	slices.SortFunc(b.table.Traffic.Ports, func(x, y runtime.PublishedPort) int {
		return cmp.Or(cmp.Compare(x.Protocol, y.Protocol), x.Address.Compare(y.Address), cmp.Compare(x.Port, y.Port))
	})
}

// overlap tells whether two addresses cannot both be listened on: they are one, or one of them is all.
func overlap(a, b netip.Addr) bool { return a == b || !a.IsValid() || !b.IsValid() }

func portName(p *corev1.ServicePort) string {
	if p.Name != "" {
		return fmt.Sprintf("%s (%d)", p.Name, p.Port)
	}
	return fmt.Sprint(p.Port)
}

// sorted are the problems in the order of their owners, each once.
func sorted(list []runtime.RouteProblem) []runtime.RouteProblem {
	slices.SortFunc(list, func(a, b runtime.RouteProblem) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(list)
}
