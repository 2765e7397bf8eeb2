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
