package service

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"berth/reconcile"
)

// perSlice is the number of endpoints in one slice, as in Kubernetes.
const perSlice = 100

// slices are those there are of a Service, and those there are to be. An endpoint stays in the slice that has it, so that few objects change; of a
// family without endpoints there is one slice with none, as in Kubernetes: who asks for a Service's slices can tell nobody from nothing known.
func (p *objects) slices(groups []group) []change {
	left := byName(p.in.Slices)
	var list []change
	for i := range groups {
		g := &groups[i]
		empty := p.slice(g, nil)
		var kept []*discoveryv1.EndpointSlice
		left = slices.DeleteFunc(left, func(s *discoveryv1.EndpointSlice) bool {
			same := alike(s, empty)
			if same {
				kept = append(kept, s)
			}
			return same
		})
		for i, chunk := range chunks(g.list, kept) {
			var c change
			if i < len(kept) {
				c.old = kept[i]
			}
			if len(chunk) > 0 {
				c.next = p.slice(g, chunk)
			}
			list = append(list, c)
		}
	}
	if selects(p.in.Service) {
		for _, f := range familiesOf(p.in.Service) {
			stays := func(c change) bool { return c.next != nil && c.next.AddressType == discoveryv1.AddressType(f) }
			if !slices.ContainsFunc(list, stays) {
				list = append(list, change{next: p.slice(&group{family: f}, nil)})
			}
		}
	}
	return append(list, going(left)...)
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

// chunks deals endpoints out: one chunk for each slice that is there, with those it has and new ones up to its size, and more for the rest.
func chunks(list []*Endpoint, kept []*discoveryv1.EndpointSlice) [][]*Endpoint {
	in := map[place]int{}
	for i, s := range kept {
		for j := range s.Endpoints {
			in[place{s.Endpoints[j].Addresses[0], s.Endpoints[j].TargetRef.UID}] = i
		}
	}
	at, held := make([]int, len(list)), make([]int, len(kept))
	for i, e := range list {
		at[i] = -1
		if n, ok := in[place{e.Address.String(), e.Pod.UID}]; ok {
			at[i] = n
			held[n]++
		}
	}
	for i, next := 0, 0; i < len(list); i++ {
		if at[i] >= 0 {
			continue
		}
		for next < len(held) && held[next] >= perSlice {
			next++
		}
		if next == len(held) {
			held = append(held, 0)
		}
		at[i] = next
		held[next]++
	}
	out := make([][]*Endpoint, len(held))
	for i, e := range list { // in its order: a second look finds nothing to do
		out[at[i]] = append(out[at[i]], e)
	}
	return out
}

func (p *objects) slice(g *group, list []*Endpoint) *discoveryv1.EndpointSlice {
	svc := p.in.Service
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  p.meta(map[string]string{discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: managedSlices}),
		AddressType: discoveryv1.AddressType(g.family),
		Ports:       []discoveryv1.EndpointPort{},
		Endpoints:   []discoveryv1.Endpoint{},
	}
	s.GenerateName = svc.Name + "-"
	for _, port := range g.ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{
			Name: new(port.Name), Protocol: new(port.Protocol), Port: new(int32(port.Number)), AppProtocol: appProtocol(svc, port),
		})
	}
	near := nearest(svc)
	for _, e := range list {
		ep := discoveryv1.Endpoint{
			Addresses:  []string{e.Address.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: new(e.Ready), Serving: new(e.Serving), Terminating: new(e.Terminating)},
			TargetRef:  target(e.Pod), NodeName: new(p.in.Node),
		}
		if e.Hostname != "" {
			ep.Hostname = new(e.Hostname)
		}
		if near && e.Ready {
			ep.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: p.in.Node}}}
		}
		s.Endpoints = append(s.Endpoints, ep)
	}
	return s
}

// nearest tells that a Service's endpoints are for clients of their own machine first. The older annotation counts before the field, and asks for hints of
// zones, which one machine has none of.
func nearest(svc *corev1.Service) bool {
	mode, ok := svc.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if !ok {
		mode = svc.Annotations[corev1.AnnotationTopologyMode]
	}
	return mode != "Auto" && mode != "auto" && value(svc.Spec.TrafficDistribution, "") == corev1.ServiceTrafficDistributionPreferSameNode
}

// change is a slice as it is and as it is to be: old is nil for one that is made, next for one that goes.
type change struct{ old, next *discoveryv1.EndpointSlice }

// going are slices that go.
func going(list []*discoveryv1.EndpointSlice) []change {
	out := make([]change, 0, len(list))
	for _, s := range list {
		out = append(out, change{old: s})
	}
	return out
}

// settle makes changes true. One that would go becomes one that would be made, as in Kubernetes: who watches sees it with other ports, and at no time
// none. name is what new names begin with.
func settle(list []change, name string, names *reconcile.Names) []reconcile.Action {
	var spare []*discoveryv1.EndpointSlice
	for _, c := range list {
		if c.next == nil {
			spare = append(spare, c.old)
		}
	}
	var out []reconcile.Action
	for _, c := range list {
		if c.next == nil {
			continue
		}
		if c.old == nil {
			at := slices.IndexFunc(spare, func(s *discoveryv1.EndpointSlice) bool { return s.AddressType == c.next.AddressType })
			if at < 0 {
				c.next.Name = names.Next(name, "-")
				out = append(out, reconcile.CreateObject{Object: c.next})
				continue
			}
			c.old = spare[at]
			spare = slices.Delete(spare, at, at+1)
		}
		if n := renewed(c.old, c.next); n != nil {
			out = append(out, reconcile.UpdateObject{Object: n})
		}
	}
	for _, s := range spare {
		out = append(out, removal(s))
	}
	return out
}

// renewed is what becomes of a slice that is there, nil when it is so already. Annotations are its own where the next one says nothing of them.
func renewed(old, next *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	n := *next
	n.ObjectMeta = withLabels(&old.ObjectMeta, next.Labels)
	if next.Annotations != nil {
		n.Annotations = next.Annotations
	}
	if apiequality.Semantic.DeepEqual(old.Endpoints, n.Endpoints) && apiequality.Semantic.DeepEqual(old.Ports, n.Ports) &&
		maps.Equal(old.Labels, n.Labels) && maps.Equal(old.Annotations, n.Annotations) {
		return nil
	}
	return &n
}

// alike tells that two slices are of one family and serve the same ports.
func alike(a, b *discoveryv1.EndpointSlice) bool {
	return a.AddressType == b.AddressType && apiequality.Semantic.DeepEqual(a.Ports, b.Ports)
}

func byName(list []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
