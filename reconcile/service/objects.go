package service

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// Labels and values of Kubernetes' own controllers, so that its tools know these objects for what they are.
const (
	managedSlices    = "endpointslice-controller.k8s.io"
	managedEndpoints = "endpoint-controller"
	labelEndpoints   = "endpoints.kubernetes.io/managed-by"
)

// perSlice is the number of endpoints in one slice, as in Kubernetes.
const perSlice = 100

// ObjectsInput is what the objects of one Service are made of. Nothing in it is changed.
type ObjectsInput struct {
	Service *corev1.Service
	// Listed are its endpoints, of a Table.
	Listed []Endpoint
	// Slices and Endpoints are those made for it before; Endpoints is nil for none.
	Slices    []*discoveryv1.EndpointSlice
	Endpoints *corev1.Endpoints
	// Failing tells that something of it cannot be done.
	Failing bool
	// Node and HostIP are the machine.
	Node, HostIP string
	Nonce        uint64
}

// Plan keeps the EndpointSlices, the Endpoints and the status of a Service as its endpoints are. A Service without a selector has those that files
// state, and none is made.
func Plan(in ObjectsInput) reconcile.Plan {
	p := objects{in: in}
	var groups []group
	if len(in.Service.Spec.Selector) > 0 && in.Service.Spec.Type != corev1.ServiceTypeExternalName {
		groups = grouped(in.Listed)
		p.endpoints(groups)
	} else if in.Endpoints != nil {
		p.remove(in.Endpoints)
	}
	p.slices(groups)
	p.status()
	return reconcile.Plan{Actions: p.actions}
}

type objects struct {
	in      ObjectsInput
	actions []reconcile.Action
}

func (p *objects) remove(o reconcile.Object) {
	p.actions = append(p.actions, reconcile.DeleteObject{Key: reconcile.KeyOf(o), UID: o.GetUID(), Reason: "its endpoints are gone"})
}

// group are the endpoints of a family that serve the same ports: a named port may be another in each pod.
type group struct {
	family corev1.IPFamily
	ports  []Port
	list   []*Endpoint
}

func grouped(list []Endpoint) []group {
	var out []group
	for i := range list {
		e := &list[i]
		if e.Pod == nil {
			continue // of a slice that a file states
		}
		f := familyOf(e.Address)
		at := slices.IndexFunc(out, func(g group) bool { return g.family == f && slices.Equal(g.ports, e.Ports) })
		if at < 0 {
			at = len(out)
			out = append(out, group{family: f, ports: e.Ports})
		}
		out[at].list = append(out[at].list, e)
	}
	return out
}

// slices keeps the slices. An endpoint stays in the slice that has it, so that few objects change.
func (p *objects) slices(groups []group) {
	left := slices.Clone(p.in.Slices)
	slices.SortFunc(left, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	names := reconcile.NewNames(p.in.Service.UID, p.in.Nonce, nil)
	for _, g := range groups {
		var kept []*discoveryv1.EndpointSlice
		empty := p.slice(&g, nil)
		left = slices.DeleteFunc(left, func(s *discoveryv1.EndpointSlice) bool {
			same := s.AddressType == empty.AddressType && apiequality.Semantic.DeepEqual(s.Ports, empty.Ports)
			if same {
				kept = append(kept, s)
			}
			return same
		})
		for i, chunk := range chunks(g.list, kept) {
			n := p.slice(&g, chunk)
			switch {
			case i >= len(kept):
				n.Name = names.Next(p.in.Service.Name, "-")
				p.actions = append(p.actions, reconcile.CreateObject{Object: n})
			case len(chunk) == 0:
				p.remove(kept[i])
			default:
				p.update(kept[i], n)
			}
		}
	}
	for _, old := range left {
		p.remove(old)
	}
}

func (p *objects) update(old, n *discoveryv1.EndpointSlice) {
	n.ObjectMeta = withLabels(&old.ObjectMeta, n.Labels)
	if !apiequality.Semantic.DeepEqual(old.Endpoints, n.Endpoints) || !maps.Equal(old.Labels, n.Labels) {
		p.actions = append(p.actions, reconcile.UpdateObject{Object: n})
	}
}

// chunks deals endpoints out: one chunk for each slice that is there, with those it has and new ones up to its size, and more for the rest.
func chunks(list []*Endpoint, kept []*discoveryv1.EndpointSlice) [][]*Endpoint {
	in := map[string]int{}
	for i, s := range kept {
		for j := range s.Endpoints {
			in[s.Endpoints[j].Addresses[0]] = i
		}
	}
	out := make([][]*Endpoint, len(kept))
	var fresh []*Endpoint
	for _, e := range list {
		if i, ok := in[e.Address.String()]; ok {
			out[i] = append(out[i], e)
		} else {
			fresh = append(fresh, e)
		}
	}
	for i := range out {
		n := min(len(fresh), perSlice-len(out[i]))
		out[i], fresh = append(out[i], fresh[:n]...), fresh[n:]
	}
	return slices.AppendSeq(out, slices.Chunk(fresh, perSlice))
}

// withLabels is the metadata of a stored object with other labels.
func withLabels(meta *metav1.ObjectMeta, labels map[string]string) metav1.ObjectMeta {
	out := *meta.DeepCopy()
	out.Labels = labels
	return out
}

// meta is the metadata of what is made for the Service.
func (p *objects) meta(own map[string]string) metav1.ObjectMeta {
	svc := p.in.Service
	labels := maps.Clone(svc.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	maps.Copy(labels, own)
	return metav1.ObjectMeta{
		Namespace: svc.Namespace, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind(reconcile.KindService))},
	}
}

func (p *objects) slice(g *group, list []*Endpoint) *discoveryv1.EndpointSlice {
	svc := p.in.Service
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  p.meta(map[string]string{discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: managedSlices}),
		AddressType: discoveryv1.AddressType(g.family),
	}
	s.GenerateName = svc.Name + "-"
	for _, port := range g.ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{
			Name: new(port.Name), Protocol: new(port.Protocol), Port: new(int32(port.Number)), AppProtocol: appProtocol(svc, port),
		})
	}
	for _, e := range list {
		ep := discoveryv1.Endpoint{
			Addresses:  []string{e.Address.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: new(e.Ready), Serving: new(e.Serving), Terminating: new(e.Terminating)},
			TargetRef:  target(e.Pod), NodeName: new(p.in.Node),
		}
		if e.Hostname != "" {
			ep.Hostname = new(e.Hostname)
		}
		s.Endpoints = append(s.Endpoints, ep)
	}
	return s
}

// appProtocol is what the Service says of a port of its, nil for nothing.
func appProtocol(svc *corev1.Service, port Port) *string {
	for i := range svc.Spec.Ports {
		if sp := &svc.Spec.Ports[i]; sp.Name == port.Name && known(sp.Protocol) == port.Protocol {
			return sp.AppProtocol
		}
	}
	return nil
}

func target(p *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: reconcile.KindPod, Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// endpoints keeps the older form of the same, of the Service's first family. It has no word for pods that are ending: they are left out.
func (p *objects) endpoints(groups []group) {
	svc := p.in.Service
	n := &corev1.Endpoints{ObjectMeta: p.meta(map[string]string{labelEndpoints: managedEndpoints})}
	n.Name = svc.Name
	for _, g := range groups {
		if s, ok := p.subset(g); ok && g.family == familiesOf(svc)[0] {
			n.Subsets = append(n.Subsets, s)
		}
	}
	old := p.in.Endpoints
	if old == nil {
		p.actions = append(p.actions, reconcile.CreateObject{Object: n})
		return
	}
	n.ObjectMeta = withLabels(&old.ObjectMeta, n.Labels)
	if !apiequality.Semantic.DeepEqual(old.Subsets, n.Subsets) || !maps.Equal(old.Labels, n.Labels) {
		p.actions = append(p.actions, reconcile.UpdateObject{Object: n})
	}
}

// subset are the endpoints of a group; false for none, and for those that have none of the Service's ports.
func (p *objects) subset(g group) (corev1.EndpointSubset, bool) {
	var s corev1.EndpointSubset
	if len(g.ports) == 0 && len(p.in.Service.Spec.Ports) > 0 {
		return s, false
	}
	for _, port := range g.ports {
		s.Ports = append(s.Ports, corev1.EndpointPort{
			Name: port.Name, Port: int32(port.Number), Protocol: port.Protocol, AppProtocol: appProtocol(p.in.Service, port),
		})
	}
	for _, e := range g.list {
		a := corev1.EndpointAddress{IP: e.Address.String(), Hostname: e.Hostname, NodeName: new(p.in.Node), TargetRef: target(e.Pod)}
		switch {
		case e.Ready:
			s.Addresses = append(s.Addresses, a)
		case !e.Terminating:
			s.NotReadyAddresses = append(s.NotReadyAddresses, a)
		}
	}
	return s, len(s.Addresses)+len(s.NotReadyAddresses) > 0
}

// status says where a load balancer is reached: at the machine itself, as soon as its ports are open.
func (p *objects) status() {
	svc := p.in.Service
	var want []corev1.LoadBalancerIngress
	if ip := cmp.Or(strings.TrimSpace(svc.Spec.LoadBalancerIP), p.in.HostIP); svc.Spec.Type == corev1.ServiceTypeLoadBalancer && ip != "" && !p.in.Failing {
		want = []corev1.LoadBalancerIngress{{IP: ip, IPMode: new(corev1.LoadBalancerIPModeProxy)}}
	}
	if apiequality.Semantic.DeepEqual(svc.Status.LoadBalancer.Ingress, want) {
		return
	}
	n := *svc
	n.Status.LoadBalancer = corev1.LoadBalancerStatus{Ingress: want}
	p.actions = append(p.actions, reconcile.UpdateStatus{Object: &n})
}

// Differing are the Services that the two tables see with other endpoints.
func Differing(a, b *Table) []reconcile.Key {
	var out []reconcile.Key
	for key, list := range b.Endpoints {
		if had, ok := a.Endpoints[key]; !ok || !slices.EqualFunc(had, list, sameEndpoint) {
			out = append(out, key)
		}
	}
	return out
}

func sameEndpoint(a, b Endpoint) bool {
	return a.Address == b.Address && a.Hostname == b.Hostname && a.Ready == b.Ready && a.Serving == b.Serving && a.Terminating == b.Terminating &&
		(a.Pod == nil) == (b.Pod == nil) && (a.Pod == nil || a.Pod.UID == b.Pod.UID) && slices.Equal(a.Ports, b.Ports)
}
