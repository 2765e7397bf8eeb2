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

// ObjectsInput is what the objects of one Service are made of. Nothing in it is changed.
type ObjectsInput struct {
	Service *corev1.Service
	// Listed are its endpoints, of a Table.
	Listed []Endpoint
	// Slices and Endpoints are those made for it before; Endpoints is nil for none.
	Slices    []*discoveryv1.EndpointSlice
	Endpoints *corev1.Endpoints
	// Stated tells that a file states Endpoints of its name: then none is made.
	Stated bool
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
	if selects(in.Service) {
		groups = grouped(in.Listed)
	}
	p.endpoints(groups)
	names := reconcile.NewNames(in.Service.UID, in.Nonce, nil)
	p.actions = append(p.actions, settle(p.slices(groups), in.Service.Name, names)...)
	p.status()
	return reconcile.Plan{Actions: p.actions}
}

// selects tells that a Service's endpoints are pods.
func selects(svc *corev1.Service) bool {
	return len(svc.Spec.Selector) > 0 && svc.Spec.Type != corev1.ServiceTypeExternalName
}

type objects struct {
	in      ObjectsInput
	actions []reconcile.Action
}

func removal(o reconcile.Object) reconcile.Action {
	return reconcile.DeleteObject{Key: reconcile.KeyOf(o), UID: o.GetUID(), Reason: "its endpoints are gone"}
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
	labels := map[string]string{}
	maps.Copy(labels, svc.Labels)
	delete(labels, corev1.IsHeadlessService) // whatever the Service says of itself
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	maps.Copy(labels, own)
	return metav1.ObjectMeta{
		Namespace: svc.Namespace, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind(reconcile.KindService))},
	}
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
	svc, old := p.in.Service, p.in.Endpoints
	switch {
	case p.in.Stated:
		return
	case !selects(svc):
		if old != nil {
			p.actions = append(p.actions, removal(old))
		}
		return
	}
	n := &corev1.Endpoints{ObjectMeta: p.meta(map[string]string{labelEndpoints: managedEndpoints})}
	n.Name = svc.Name
	for i := range groups {
		if s, ok := p.subset(&groups[i]); ok && groups[i].family == familiesOf(svc)[0] {
			n.Subsets = append(n.Subsets, s)
		}
	}
	if len(n.Subsets) > 1 {
		n.Subsets = repack(n.Subsets)
	}
	subsets, over := truncate(n.Subsets)
	n.Subsets = subsets
	if over {
		n.Annotations = map[string]string{corev1.EndpointsOverCapacity: "truncated"}
	}
	if old == nil {
		p.actions = append(p.actions, reconcile.CreateObject{Object: n})
		return
	}
	_, was := old.Annotations[corev1.EndpointsOverCapacity]
	if apiequality.Semantic.DeepEqual(old.Subsets, n.Subsets) && maps.Equal(old.Labels, n.Labels) && was == over {
		return
	}
	annotations := n.Annotations
	n.ObjectMeta = withLabels(&old.ObjectMeta, n.Labels)
	n.Annotations = annotations
	p.actions = append(p.actions, reconcile.UpdateObject{Object: n})
}

// subset are the endpoints of a group; false for none, and for those that have none of the Service's ports.
func (p *objects) subset(g *group) (corev1.EndpointSubset, bool) {
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
