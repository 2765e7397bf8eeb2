// Package service decides who is reached where: which pods stand behind which Service, which ports of the machine lead to them, and which
// address each Service has.
//
// An *endpoint* is a pod, or an address that a file states, as one Service sees it. The *table* is all of them at one moment; what the runtime
// needs of it is a runtime.Traffic. Endpoints take connections when they are ready; while none is and some of those that are ending still serve,
// these do.
package service

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/runtime"
)

// Input is what the table is made of. Nothing in it is changed.
type Input struct {
	Services []*corev1.Service
	Pods     []Pod
	// Slices and Endpoints are those that files state.
	Slices    []*discoveryv1.EndpointSlice
	Endpoints []*corev1.Endpoints
	// Ranges are those of the Services' own addresses.
	Ranges Ranges
}

// Pod is a pod and what it comes from.
type Pod struct {
	*corev1.Pod
	// Workload is the object above it that has no owner, the Pod itself for one without; Since is when that was made.
	Workload reconcile.Key
	Since    time.Time
}

// Table is who is reached where.
type Table struct {
	Traffic runtime.Traffic
	// Endpoints are those of each Service, sorted by address. A pod of two families is there once for each that the Service has.
	Endpoints map[reconcile.Key][]Endpoint
	// Held are the pods that get new connections and shall lose them before they end. One that serves only because nobody else does, or whether it
	// is ready or not, is not among them: it gets them until it has ended.
	Held map[types.UID]bool
	// Problems are what cannot be done, sorted. They are no matter of the machine: what is stated contradicts itself.
	Problems []runtime.RouteProblem
}

// Endpoint is one address behind a Service.
type Endpoint struct {
	Address netip.Addr
	// Hostname is its name below the Service's, "" for none.
	Hostname string
	// Ports are those of the Service's ports that it serves, in their order.
	Ports []Port
	// Ready endpoints take connections; Serving ones would, but for their end.
	Ready, Serving, Terminating bool
	// Pod is nil for an address that a file states.
	Pod *corev1.Pod
}

// Port is a port of an endpoint, under the name that the Service's port has.
type Port struct {
	Name     string
	Protocol corev1.Protocol
	Number   uint16
}

// TableOf makes the table.
func TableOf(in Input) Table {
	b := builder{
		in: in, pods: newIndex(len(in.Services), in.Pods), claims: judge(in.Services, in.Ranges),
		table: Table{Endpoints: make(map[reconcile.Key][]Endpoint, len(in.Services)), Held: map[types.UID]bool{}},
	}
	b.problems = b.claims.problems
	services := slices.Clone(in.Services)
	slices.SortFunc(services, func(x, y *corev1.Service) int {
		return strings.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name)
	})
	for _, svc := range services {
		b.service(svc)
	}
	b.hostPorts()
	b.publish()
	b.table.Problems = sorted(b.problems)
	return b.table
}

// builder makes one table.
type builder struct {
	in       Input
	pods     *index
	claims   *claims
	wanted   []wanted
	problems []runtime.RouteProblem
	table    Table
}

// service enters a Service: its endpoints, its own addresses, and the ports of the machine that it wants.
func (b *builder) service(svc *corev1.Service) {
	key := reconcile.KeyOf(svc)
	out := runtime.Service{Namespace: svc.Namespace, Name: svc.Name}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		out.ExternalName = svc.Spec.ExternalName
		b.table.Traffic.Services = append(b.table.Traffic.Services, out)
		return
	}
	list := b.endpoints(svc)
	b.table.Endpoints[key] = list
	b.hold(list)
	out.AffinitySeconds = affinity(svc)
	headless := svc.Spec.ClusterIP == corev1.ClusterIPNone
	if headless {
		out.Hosts = hosts(list)
	}
	out.ClusterIPs = b.claims.addresses[key]
	reached := OnePerPod(list)
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		protocol, ok := protocolOf(p.Protocol)
		if !ok {
			b.problem(key.String(), ReasonProtocol, "port "+portName(p)+": "+string(p.Protocol)+" is not carried, only TCP and UDP are")
			continue
		}
		out.Ports = append(out.Ports, runtime.ServicePort{
			Name: p.Name, Protocol: protocol, Port: uint16(p.Port), Backends: Backends(list, p.Name, known(p.Protocol)),
		})
		backends := out.Ports[len(out.Ports)-1].Backends
		if len(reached) < len(list) {
			backends = Backends(reached, p.Name, known(p.Protocol))
		}
		b.want(svc, p, protocol, backends)
	}
	out.ExternalIPs = b.externalIPs(svc)
	if headless || len(out.ClusterIPs) > 0 {
		b.table.Traffic.Services = append(b.table.Traffic.Services, out)
	}
}

// hold notes the pods of endpoints that are to lose their connections before they end.
func (b *builder) hold(list []Endpoint) {
	for i := range list {
		if e := &list[i]; e.Pod != nil && e.Serving && !e.Terminating && len(e.Ports) > 0 {
			b.table.Held[e.Pod.UID] = true
		}
	}
}

// externalIPs are those of the Service's families that no other has with the same port: the older keeps it.
func (b *builder) externalIPs(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	families := familiesOf(svc)
	for _, text := range svc.Spec.ExternalIPs {
		addr, ok := parse(text)
		if !ok || !b.in.Ranges.has(familyOf(addr)) || !slices.Contains(families, familyOf(addr)) || slices.Contains(out, addr) || !b.claims.has(svc, addr) {
			continue
		}
		out = append(out, addr)
	}
	return out
}

// Backends are who takes new connections to a port: those that are ready, or else those that end and still serve.
func Backends(list []Endpoint, name string, protocol corev1.Protocol) []netip.AddrPort {
	take := func(ok func(*Endpoint) bool) []netip.AddrPort {
		var out []netip.AddrPort
		for i := range list {
			e := &list[i]
			if !ok(e) {
				continue
			}
			for _, p := range e.Ports {
				if p.Name == name && p.Protocol == protocol {
					out = append(out, netip.AddrPortFrom(e.Address, p.Number))
				}
			}
		}
		return unique(out)
	}
	if out := take(func(e *Endpoint) bool { return e.Ready }); len(out) > 0 {
		return out
	}
	return take(func(e *Endpoint) bool { return e.Serving && e.Terminating })
}

// unique sorts addresses and drops what is there twice.
func unique(list []netip.AddrPort) []netip.AddrPort {
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

// hosts are the endpoints that names are given for: the ready ones.
func hosts(list []Endpoint) []runtime.Host {
	var out []runtime.Host
	for i := range list {
		e := &list[i]
		if !e.Ready {
			continue
		}
		h := runtime.Host{Name: e.Hostname, Address: e.Address}
		for _, p := range e.Ports {
			if protocol, ok := protocolOf(p.Protocol); ok {
				h.Ports = append(h.Ports, runtime.HostPort{Name: p.Name, Protocol: protocol, Port: p.Number})
			}
		}
		out = append(out, h)
	}
	return out
}

func affinity(svc *corev1.Service) int32 {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return *c.ClientIP.TimeoutSeconds
	}
	return corev1.DefaultClientIPServiceAffinitySeconds
}

// protocolOf is false for what is not carried.
func protocolOf(p corev1.Protocol) (runtime.Protocol, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return runtime.TCP, true
	case corev1.ProtocolUDP:
		return runtime.UDP, true
	case corev1.ProtocolSCTP:
	}
	return "", false
}

// special tells of addresses that nobody may be sent to, as Kubernetes refuses them: the machine's own, and those of one link.
func special(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast()
}
