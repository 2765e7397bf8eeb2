package service_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/reconcile/service"
)

// shelf holds the objects of one Service, as a store would.
type shelf struct {
	in   service.ObjectsInput
	uids int
}

// keep applies plans until nothing is left to do, and tells what was done.
func (s *shelf) keep(t *testing.T, svc *corev1.Service, pods ...service.Pod) []string {
	t.Helper()
	table := service.TableOf(service.Input{Services: []*corev1.Service{svc}, Pods: pods, Ranges: service.Ranges{IPv4: netip.MustParsePrefix("10.43.0.0/16")}})
	s.in.Service, s.in.Listed, s.in.Node, s.in.HostIP = svc, table.Endpoints[reconcile.KeyOf(svc)], "node", "192.0.2.1"
	var did []string
	for range 5 {
		s.in.Nonce++
		plan := service.Plan(s.in)
		if len(plan.Actions) == 0 {
			return did
		}
		for _, a := range plan.Actions {
			did = append(did, strings.SplitN(a.String(), " ", 2)[0])
			s.do(a)
		}
	}
	t.Fatalf("not quiet after five passes: %v", did)
	return nil
}

func (s *shelf) do(a reconcile.Action) {
	is := func(o reconcile.Object) func(*discoveryv1.EndpointSlice) bool {
		return func(e *discoveryv1.EndpointSlice) bool { return e.Name == o.GetName() }
	}
	put := func(o reconcile.Object) {
		switch o := o.(type) {
		case *corev1.Endpoints:
			s.in.Endpoints = o
		case *discoveryv1.EndpointSlice:
			s.in.Slices = append(slices.DeleteFunc(s.in.Slices, is(o)), o)
		}
	}
	switch a := a.(type) {
	case reconcile.CreateObject:
		s.uids++
		a.Object.SetUID(types.UID(fmt.Sprint(s.uids)))
		put(a.Object)
	case reconcile.UpdateObject:
		put(a.Object)
	case reconcile.DeleteObject:
		s.in.Slices = slices.DeleteFunc(s.in.Slices, func(e *discoveryv1.EndpointSlice) bool { return e.UID == a.UID })
		if s.in.Endpoints != nil && s.in.Endpoints.UID == a.UID {
			s.in.Endpoints = nil
		}
	case reconcile.UpdateStatus:
		s.in.Service.Status = a.Object.(*corev1.Service).Status
	}
}

func TestSlicesFollowEndpoints(t *testing.T) {
	named := func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("http") }
	other := func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9001 }
	var s shelf
	if diff := cmp.Diff([]string{"create", "create", "create"}, s.keep(t, svc("web", named), newPod(1), newPod(2, unready), newPod(3, other), newPod(4, ending))); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	if len(s.in.Slices) != 2 || len(s.in.Slices[0].Endpoints) != 3 || *s.in.Slices[0].Ports[0].Port != 9000 || *s.in.Slices[1].Ports[0].Port != 9001 {
		t.Errorf("slices: %+v", s.in.Slices)
	}
	e := s.in.Slices[0].Endpoints
	for i, want := range []string{"true true false", "false false false", "false true true"} {
		if got := fmt.Sprint(*e[i].Conditions.Ready, *e[i].Conditions.Serving, *e[i].Conditions.Terminating); got != want {
			t.Errorf("%s: %s, want %s", e[i].TargetRef.Name, got, want)
		}
	}
	if sub := s.in.Endpoints.Subsets; len(sub) != 2 || len(sub[0].Addresses) != 1 || len(sub[0].NotReadyAddresses) != 1 {
		t.Errorf("endpoints: %+v", sub)
	}
	if l := s.in.Slices[0].Labels; l[discoveryv1.LabelServiceName] != "web" || l[discoveryv1.LabelManagedBy] != "endpointslice-controller.k8s.io" {
		t.Errorf("labels: %v", l)
	}
	if did := s.keep(t, svc("web", named), newPod(1), newPod(2, unready), newPod(3, other), newPod(4, ending)); len(did) != 0 {
		t.Errorf("nothing has changed: %v", did)
	}
	if diff := cmp.Diff([]string{"update", "update", "delete"}, s.keep(t, svc("web", named), newPod(1), newPod(2))); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"update", "update"}, s.keep(t, svc("web"), newPod(1), newPod(2))); diff != "" || *s.in.Slices[0].Ports[0].Port != 8080 {
		t.Errorf("with other ports it is the same slice (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"delete", "delete"}, s.keep(t, svc("web", func(s *corev1.Service) { s.Spec.Selector = nil }))); diff != "" {
		t.Errorf("without a selector (-want +got):\n%s", diff)
	}
}

func TestPortsSayWhatIsSpoken(t *testing.T) {
	speaks := func(s *corev1.Service) { s.Spec.Ports[0].AppProtocol = new("kubernetes.io/h2c") }
	var s shelf
	s.keep(t, svc("web"), newPod(1))
	s.keep(t, svc("web", speaks), newPod(1))
	if len(s.in.Slices) != 1 {
		t.Fatalf("slices: %+v", s.in.Slices)
	}
	if got := s.in.Slices[0].Ports[0].AppProtocol; got == nil || *got != "kubernetes.io/h2c" {
		t.Errorf("the slice says %v", got)
	}
	if got := s.in.Endpoints.Subsets[0].Ports[0].AppProtocol; got == nil || *got != "kubernetes.io/h2c" {
		t.Errorf("the Endpoints say %v", got)
	}
}

// A pod that has no port of the name that the Service asks for is in a slice without ports, and in no subset, as in Kubernetes.
func TestPodsWithoutThePort(t *testing.T) {
	var s shelf
	s.keep(t, svc("web", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("nobody-has-it") }), newPod(1))
	if len(s.in.Slices) != 1 || len(s.in.Slices[0].Ports) != 0 || len(s.in.Slices[0].Endpoints) != 1 {
		t.Errorf("slices: %+v", s.in.Slices)
	}
	if got := s.in.Endpoints.Subsets; len(got) != 0 {
		t.Errorf("subsets: %+v", got)
	}
}

func TestSlicesAreFilledToAHundred(t *testing.T) {
	var pods []service.Pod
	for i := range 250 {
		pods = append(pods, newPod(i+1))
	}
	var s shelf
	s.keep(t, svc("web"), pods...)
	var sizes []int
	for _, e := range s.in.Slices {
		sizes = append(sizes, len(e.Endpoints))
	}
	slices.Sort(sizes)
	if diff := cmp.Diff([]int{50, 100, 100}, sizes); diff != "" {
		t.Errorf("sizes: %s", diff)
	}
	if diff := cmp.Diff([]string{"update", "update"}, s.keep(t, svc("web"), pods[1:]...)); diff != "" {
		t.Errorf("one less, of the slices and of the Endpoints: %s", diff)
	}
	s.keep(t, svc("web"), pods[:1]...)
	if len(s.in.Slices) != 1 {
		t.Errorf("%d slices for one", len(s.in.Slices))
	}
}

func TestLoadBalancerIsReachedAtTheMachine(t *testing.T) {
	web := svc("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
	var s shelf
	s.in.Failing = true
	s.keep(t, web)
	if got := web.Status.LoadBalancer.Ingress; len(got) != 0 {
		t.Errorf("its port is not open: %+v", got)
	}
	s.in.Failing = false
	s.keep(t, web)
	if got := web.Status.LoadBalancer.Ingress; len(got) != 1 || got[0].IP != "192.0.2.1" {
		t.Errorf("reached at %+v", got)
	}
	web.Spec.Type = corev1.ServiceTypeClusterIP
	s.keep(t, web)
	if got := web.Status.LoadBalancer.Ingress; len(got) != 0 {
		t.Errorf("reached at %+v", got)
	}
}

// Of a Service without pods there is one slice of each family, with nothing in it, and it is the one that has them later.
func TestNobodyIsTold(t *testing.T) {
	both := func(s *corev1.Service) {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	var s shelf
	said := func() []string {
		var out []string
		for _, e := range s.in.Slices {
			out = append(out, fmt.Sprintf("%s: %d ports, %d endpoints", e.AddressType, len(e.Ports), len(e.Endpoints)))
		}
		slices.Sort(out)
		return out
	}
	for _, step := range []struct {
		did, said []string
		pods      []service.Pod
	}{
		{[]string{"create", "create", "create"}, []string{"IPv4: 0 ports, 0 endpoints", "IPv6: 0 ports, 0 endpoints"}, nil},
		{[]string{"update", "update"}, []string{"IPv4: 1 ports, 1 endpoints", "IPv6: 0 ports, 0 endpoints"}, []service.Pod{newPod(1)}},
		{[]string{"update", "update"}, []string{"IPv4: 0 ports, 0 endpoints", "IPv6: 0 ports, 0 endpoints"}, nil},
	} {
		if diff := cmp.Diff(step.did, s.keep(t, svc("web", both), step.pods...)); diff != "" {
			t.Errorf("actions (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(step.said, said()); diff != "" {
			t.Errorf("slices (-want +got):\n%s", diff)
		}
	}
	if s.keep(t, svc("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName })); len(s.in.Slices) != 0 {
		t.Errorf("a name has slices: %v", said())
	}
}

func TestWhoIsNear(t *testing.T) {
	node := func(s *corev1.Service) {
		s.Spec.TrafficDistribution = new(corev1.ServiceTrafficDistributionPreferSameNode)
	}
	zone := func(s *corev1.Service) {
		s.Spec.TrafficDistribution = new(corev1.ServiceTrafficDistributionPreferSameZone)
	}
	auto := func(s *corev1.Service) { s.Annotations = map[string]string{corev1.AnnotationTopologyMode: "Auto"} }
	for name, tt := range map[string]struct {
		change []func(*corev1.Service)
		want   string
	}{
		"nothing said": {nil, "[] []"}, "the same node": {[]func(*corev1.Service){node}, "[node] []"}, "a machine is in no zone": {[]func(*corev1.Service){zone}, "[] []"},
		"an older word counts first": {[]func(*corev1.Service){node, auto}, "[] []"},
	} {
		var s shelf
		s.keep(t, svc("web", tt.change...), newPod(1), newPod(2, unready))
		var got [2][]string
		for i, e := range s.in.Slices[0].Endpoints {
			if e.Hints != nil {
				for _, n := range e.Hints.ForNodes {
					got[i] = append(got[i], n.Name)
				}
			}
		}
		if text := fmt.Sprint(got[0], " ", got[1]); text != tt.want {
			t.Errorf("%s: hints of one that is ready and one that is not are %s, want %s", name, text, tt.want)
		}
	}
}

// Objects have the labels of their Service, but for those that say what they are.
func TestLabelsOfObjects(t *testing.T) {
	var s shelf
	s.keep(t, svc("web", func(s *corev1.Service) {
		s.Labels = map[string]string{"team": "a", corev1.IsHeadlessService: "no", discoveryv1.LabelManagedBy: "me", discoveryv1.LabelServiceName: "other"}
	}))
	want := map[string]string{"team": "a", discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io", discoveryv1.LabelServiceName: "web"}
	if diff := cmp.Diff(want, s.in.Slices[0].Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// Endpoints hold a thousand addresses and say when there are more, ready ones first.
func TestEndpointsAreCutAtAThousand(t *testing.T) {
	var pods []service.Pod
	for i := range 1100 {
		p := newPod(i+1, func(p *corev1.Pod) { p.Status.PodIP = fmt.Sprintf("10.42.%d.%d", i/200, 1+i%200) })
		if i < 300 {
			unready(p.Pod)
		}
		pods = append(pods, p)
	}
	var s shelf
	s.keep(t, svc("web"), pods...)
	sub := s.in.Endpoints.Subsets
	if len(sub) != 1 || len(sub[0].Addresses) != 800 || len(sub[0].NotReadyAddresses) != 200 || s.in.Endpoints.Annotations[corev1.EndpointsOverCapacity] != "truncated" {
		t.Errorf("%d and %d addresses, %v", len(sub[0].Addresses), len(sub[0].NotReadyAddresses), s.in.Endpoints.Annotations)
	}
	s.keep(t, svc("web"), pods[:500]...)
	if len(s.in.Endpoints.Annotations) != 0 {
		t.Errorf("with fewer: %v", s.in.Endpoints.Annotations)
	}
}

// named makes ports that lead to ports of their name, whose number each pod states for itself.
func named(names ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Ports = nil
		for i, name := range names {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: name, Port: int32(80 + i), Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString(name)})
		}
	}
}
