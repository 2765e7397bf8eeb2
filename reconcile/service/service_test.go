package service_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/reconcile/service"
)

var born = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func svc(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(born)},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.43.1.1", Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// newPod is a ready pod with the last byte of its address as its name.
func newPod(n int, change ...func(*corev1.Pod)) service.Pod {
	name := fmt.Sprintf("web-%d", n)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web", "tier": "front"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 9000}}}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.42.0.%d", n),
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, c := range change {
		c(p)
	}
	return service.Pod{Pod: p, Workload: reconcile.Key{Kind: "Deployment", Namespace: "shop", Name: "web"}, Since: born}
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func ending(p *corev1.Pod)  { p.DeletionTimestamp = new(metav1.NewTime(born)) }
func hostPort(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].HostPort = n }
}

// lines are a table in words: who is reached at which address, whose end waits, and what cannot be done.
func lines(t service.Table) []string {
	var out []string
	list := func(backends []netip.AddrPort) string {
		words := make([]string, 0, len(backends))
		for _, b := range backends {
			words = append(words, strings.TrimPrefix(b.String(), "10.42.0."))
		}
		return " → " + strings.Join(words, " ")
	}
	for _, s := range t.Traffic.Services {
		at := append(slices.Clone(s.ClusterIPs), s.ExternalIPs...)
		for _, p := range s.Ports {
			out = append(out, fmt.Sprintf("%s %v %s/%d%s", s.Name, at, p.Protocol, p.Port, list(p.Backends)))
		}
		for _, h := range s.Hosts {
			out = append(out, fmt.Sprintf("%s host %q %s %v", s.Name, h.Name, h.Address, h.Ports))
		}
		if s.ExternalName != "" {
			out = append(out, s.Name+" is "+s.ExternalName)
		}
		if s.AffinitySeconds > 0 {
			out = append(out, fmt.Sprintf("%s keeps clients %d s", s.Name, s.AffinitySeconds))
		}
	}
	for _, p := range t.Traffic.Ports {
		line := fmt.Sprintf("port %s/%d of %s%s", p.Protocol, p.Port, p.Owner, list(p.Backends))
		if p.Address.IsValid() {
			line += " at " + p.Address.String()
		}
		if p.Sources != nil {
			line += fmt.Sprintf(" for %v", p.Sources)
		}
		if p.ShowClient {
			line += ", clients shown"
		}
		if p.ProxyProtocol > 0 {
			line += fmt.Sprintf(", PROXY %d", p.ProxyProtocol)
		}
		out = append(out, line)
	}
	for _, uid := range slices.Sorted(keys(t.Held)) {
		out = append(out, "held "+string(uid))
	}
	for _, p := range t.Problems {
		out = append(out, p.Owner+": "+p.Reason+": "+p.Message)
	}
	return out
}

func keys(m map[types.UID]bool) func(func(types.UID) bool) {
	return func(yield func(types.UID) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestTraffic(t *testing.T) {
	publish := func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }
	headless := func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }
	named := func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("http") }
	balanced := func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeLoadBalancer, 31000 }
	annotated := func(name, value string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Annotations = map[string]string{name: value} }
	}
	noSelector := func(s *corev1.Service) { s.Spec.Selector = nil }
	tests := map[string]struct {
		in   service.Input
		want []string
	}{
		"ready pods are reached": {
			service.Input{Services: []*corev1.Service{svc("web")}, Pods: []service.Pod{newPod(2), newPod(1), newPod(3, unready)}},
			[]string{"web [10.43.1.1] tcp/80 → 1:8080 2:8080", "held web-1", "held web-2"},
		},
		"a pod that ends is not": {
			service.Input{Services: []*corev1.Service{svc("web")}, Pods: []service.Pod{newPod(1), newPod(2, ending)}},
			[]string{"web [10.43.1.1] tcp/80 → 1:8080", "held web-1"},
		},
		"while all end, those that serve are": {
			service.Input{Services: []*corev1.Service{svc("web")}, Pods: []service.Pod{newPod(1, ending, unready), newPod(2, ending), newPod(3, unready)}},
			[]string{"web [10.43.1.1] tcp/80 → 2:8080"},
		},
		"nobody": {
			service.Input{Services: []*corev1.Service{svc("web")}, Pods: []service.Pod{newPod(1, unready), newPod(2, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })}},
			[]string{"web [10.43.1.1] tcp/80 → "},
		},
		"all labels of a selector count, in one namespace": {
			service.Input{
				Services: []*corev1.Service{svc("web", func(s *corev1.Service) { s.Spec.Selector["tier"] = "front" })},
				Pods: []service.Pod{
					newPod(1), newPod(2, func(p *corev1.Pod) { p.Labels["tier"] = "back" }), newPod(3, func(p *corev1.Pod) { p.Namespace = "else" }),
				},
			},
			[]string{"web [10.43.1.1] tcp/80 → 1:8080", "held web-1"},
		},
		"whoever is there": {
			service.Input{Services: []*corev1.Service{svc("web", publish)}, Pods: []service.Pod{newPod(1, unready), newPod(2, ending)}},
			[]string{"web [10.43.1.1] tcp/80 → 1:8080 2:8080"},
		},
		"a named port may be another in each pod": {
			service.Input{Services: []*corev1.Service{svc("web", named)}, Pods: []service.Pod{
				newPod(1), newPod(2, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9001 }),
				newPod(3, func(p *corev1.Pod) { p.Spec.Containers[0].Ports = nil }),
			}},
			[]string{"web [10.43.1.1] tcp/80 → 1:9000 2:9001", "held web-1", "held web-2"},
		},
		"headless": {
			service.Input{Services: []*corev1.Service{svc("web", headless)}, Pods: []service.Pod{
				newPod(1), newPod(2, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "db-0", "web" }),
				newPod(3, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "db-1", "other" }), newPod(4, unready),
			}},
			[]string{
				"web [] tcp/80 → 1:8080 2:8080 3:8080", `web host "" 10.42.0.1 [{ tcp 8080}]`, `web host "db-0" 10.42.0.2 [{ tcp 8080}]`,
				`web host "" 10.42.0.3 [{ tcp 8080}]`, "held web-1", "held web-2", "held web-3",
			},
		},
		"a name for another name": {
			service.Input{Services: []*corev1.Service{svc("web", func(s *corev1.Service) {
				s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}
			})}},
			[]string{"web is example.com"},
		},
		"clients stay": {
			service.Input{Services: []*corev1.Service{svc("web", func(s *corev1.Service) {
				s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
				s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(60))}}
			})}},
			[]string{"web [10.43.1.1] tcp/80 → ", "web keeps clients 60 s"},
		},
		"addresses from outside": {
			service.Input{Services: []*corev1.Service{
				svc("web", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.5", "127.0.0.1"} }),
				svc("else", func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ExternalIPs = "10.43.1.2", []string{"192.0.2.5"} }),
			}},
			[]string{
				"else [10.43.1.2 192.0.2.5] tcp/80 → ", "web [10.43.1.1] tcp/80 → ",
				"Service/shop/web: PortUnavailable: port 80 of externalIP 192.0.2.5 is that of Service/shop/else, which is older",
			},
		},
		"clients by the PROXY protocol": {
			service.Input{Services: []*corev1.Service{
				svc("web", balanced, annotated("load-balancer.hetzner.cloud/uses-proxyprotocol", "true")),
				svc("old", balanced, annotated("berth.dev/proxy-protocol", "v1"), func(s *corev1.Service) {
					s.Spec.ClusterIP, s.Spec.Ports[0].Port, s.Spec.Ports[0].NodePort = "10.43.1.2", 81, 0
				}),
				svc("not", balanced, annotated("service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol", "false"), func(s *corev1.Service) {
					s.Spec.ClusterIP, s.Spec.Ports[0].Port, s.Spec.Ports[0].NodePort = "10.43.1.3", 82, 0
				}),
			}},
			[]string{
				"not [10.43.1.3] tcp/82 → ", "old [10.43.1.2] tcp/81 → ", "web [10.43.1.1] tcp/80 → ",
				"port tcp/80 of Service/shop/web → , PROXY 2", "port tcp/81 of Service/shop/old → , PROXY 1", "port tcp/82 of Service/shop/not → ",
				"port tcp/31000 of Service/shop/web → ",
			},
		},
		"clients as they are": {
			service.Input{Services: []*corev1.Service{svc("web", balanced, func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })}},
			[]string{
				"web [10.43.1.1] tcp/80 → ", "port tcp/80 of Service/shop/web → , clients shown", "port tcp/31000 of Service/shop/web → , clients shown",
			},
		},
		"a load balancer without node ports": {
			service.Input{Services: []*corev1.Service{svc("web", balanced, func(s *corev1.Service) {
				s.Spec.Ports[0].NodePort, s.Spec.AllocateLoadBalancerNodePorts, s.Spec.LoadBalancerIP = 0, new(bool), "192.0.2.3"
			})}},
			[]string{"web [10.43.1.1] tcp/80 → ", "port tcp/80 of Service/shop/web →  at 192.0.2.3"},
		},
		"a host port at one address": {
			service.Input{Pods: []service.Pod{newPod(1, hostPort(53), func(p *corev1.Pod) {
				p.Spec.Containers[0].Ports[0].HostIP, p.Spec.Containers[0].Ports[0].Protocol = "192.0.2.3", corev1.ProtocolUDP
			})}},
			[]string{"port udp/53 of Deployment/shop/web → 1:9000 at 192.0.2.3, clients shown", "held web-1"},
		},
		"a load balancer and its node port": {
			service.Input{Services: []*corev1.Service{svc("web", balanced, func(s *corev1.Service) {
				s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.7/24"}
			})}, Pods: []service.Pod{newPod(1)}},
			[]string{
				"web [10.43.1.1] tcp/80 → 1:8080", "port tcp/80 of Service/shop/web → 1:8080 for [192.0.2.0/24]", "port tcp/31000 of Service/shop/web → 1:8080",
				"held web-1",
			},
		},
		"slices that a file states": {
			service.Input{Services: []*corev1.Service{svc("web", noSelector)}, Slices: []*discoveryv1.EndpointSlice{{
				ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-x", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
				AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: new(int32(5432))}},
				Endpoints: []discoveryv1.Endpoint{
					{Addresses: []string{"192.0.2.9"}},
					{Addresses: []string{"127.0.0.1"}},
					{Addresses: []string{"169.254.1.1"}},
					{Addresses: []string{"192.0.2.8"}, Conditions: discoveryv1.EndpointConditions{Ready: new(bool)}},
				},
			}}},
			[]string{"web [10.43.1.1] tcp/80 → 192.0.2.9:5432"},
		},
		"endpoints that a file states": {
			service.Input{Services: []*corev1.Service{svc("web", noSelector)}, Endpoints: []*corev1.Endpoints{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
				Subsets: []corev1.EndpointSubset{{
					Addresses: []corev1.EndpointAddress{{IP: "192.0.2.9"}}, NotReadyAddresses: []corev1.EndpointAddress{{IP: "192.0.2.8"}},
					Ports: []corev1.EndpointPort{{Port: 5432, Protocol: corev1.ProtocolTCP}},
				}},
			}}},
			[]string{"web [10.43.1.1] tcp/80 → 192.0.2.9:5432"},
		},
		"SCTP is not carried": {
			service.Input{Services: []*corev1.Service{svc("web", func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolSCTP })}, Pods: []service.Pod{newPod(1)}},
			[]string{"held web-1", "Service/shop/web: UnsupportedProtocol: port 80: SCTP is not carried, only TCP and UDP are"},
		},
		"a host port is shared": {
			service.Input{Pods: []service.Pod{newPod(1, hostPort(443)), newPod(2, hostPort(443)), newPod(3, hostPort(443), unready), newPod(4, hostPort(443), ending)}},
			[]string{"port tcp/443 of Deployment/shop/web → 1:9000 2:9000, clients shown", "held web-1", "held web-2"},
		},
		"a host port of one that is not ready yet": {
			service.Input{Pods: []service.Pod{newPod(1, hostPort(443), unready)}},
			[]string{"port tcp/443 of Deployment/shop/web → 1:9000, clients shown"},
		},
		"the network of the machine needs no port": {
			service.Input{Pods: []service.Pod{newPod(1, hostPort(9000), func(p *corev1.Pod) { p.Spec.HostNetwork = true })}},
			nil,
		},
		"the older keeps a port": {
			service.Input{
				Services: []*corev1.Service{svc("web", balanced, func(s *corev1.Service) { s.CreationTimestamp = metav1.NewTime(born.Add(time.Hour)) })},
				Pods:     []service.Pod{newPod(1, hostPort(80))},
			},
			[]string{
				"web [10.43.1.1] tcp/80 → 1:8080", "port tcp/80 of Deployment/shop/web → 1:9000, clients shown", "port tcp/31000 of Service/shop/web → 1:8080", "held web-1",
				"Service/shop/web: PortUnavailable: port 80/tcp of this machine is that of Deployment/shop/web, which is older",
			},
		},
		"an address is one Service's": {
			service.Input{Services: []*corev1.Service{svc("web"), svc("else"), svc("far", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.1" })}},
			[]string{
				"else [10.43.1.1] tcp/80 → ",
				"Service/shop/far: AddressUnavailable: clusterIP 10.96.0.1 is not in this machine's range 10.43.0.0/16: leave it out, or choose one of the range",
				"Service/shop/web: AddressUnavailable: clusterIP 10.43.1.1 is that of Service/shop/else, which is older",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.in.Ranges.IPv4 = netip.MustParsePrefix("10.43.0.0/16")
			if diff := cmp.Diff(tt.want, lines(service.TableOf(tt.in))); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

// What was allocated is unique, in the range, none of the addresses that are kept, and found again by name.
func TestAllocate(t *testing.T) {
	cidr := netip.MustParsePrefix("10.43.0.0/24")
	ranges := service.Ranges{IPv4: cidr}
	var services []*corev1.Service
	for i := range 250 {
		services = append(services, svc(fmt.Sprintf("s%d", i), func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.Type = "", corev1.ServiceTypeNodePort
		}))
	}
	changed, refused := service.Allocate(services, ranges)
	if len(changed) != 250 || len(refused) != 0 {
		t.Fatalf("%d changed, refused %v", len(changed), refused)
	}
	seen := map[string]bool{"10.43.0.0": true, "10.43.0.1": true, "10.43.0.10": true, "10.43.0.255": true}
	for _, s := range changed {
		port := fmt.Sprint(s.Spec.Ports[0].NodePort)
		if seen[s.Spec.ClusterIP] || seen[port] || !cidr.Contains(netip.MustParseAddr(s.Spec.ClusterIP)) {
			t.Errorf("%s: %s and %s", s.Name, s.Spec.ClusterIP, port)
		}
		seen[s.Spec.ClusterIP], seen[port] = true, true
	}
	if again, _ := service.Allocate(changed, ranges); len(again) != 0 {
		t.Errorf("allocated again: %d", len(again))
	}
	first, _ := service.Allocate(services, ranges)
	if diff := cmp.Diff(changed, first); diff != "" {
		t.Errorf("another one: %s", diff)
	}
	for _, w := range service.TableOf(service.Input{Services: changed, Ranges: ranges}).Problems {
		t.Error(w)
	}
	if _, refused := service.Allocate(append(changed, svc("late", func(s *corev1.Service) { s.Spec.ClusterIP = "10.43.0.10" })), ranges); len(refused) != 1 {
		t.Errorf("refused: %v", refused)
	}
	if got := service.DNSAddress(cidr); got != netip.MustParseAddr("10.43.0.10") {
		t.Errorf("address of DNS: %s", got)
	}
}

func TestCarry(t *testing.T) {
	old := svc("web", func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 31000 })
	tests := map[string]struct {
		change func(*corev1.Service)
		want   string
	}{
		"the same":          {func(*corev1.Service) {}, "10.43.1.1 31000"},
		"another port":      {func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 }, "10.43.1.1 0"},
		"no node port":      {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }, "10.43.1.1 0"},
		"headless":          {func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }, "None 31000"},
		"an address":        {func(s *corev1.Service) { s.Spec.ClusterIP = "10.43.2.2" }, "10.43.2.2 31000"},
		"a node port":       {func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 32000 }, "10.43.1.1 32000"},
		"only another name": {func(s *corev1.Service) { s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName} }, " 0"},
		"a port beside them": {func(s *corev1.Service) {
			s.Spec.Ports = append([]corev1.ServicePort{{Port: 443, NodePort: 31000}}, s.Spec.Ports...)
		}, "10.43.1.1 31000"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := svc("web", func(s *corev1.Service) { s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeNodePort, "" })
			tt.change(n)
			if errs := service.Carry(n, old, service.Ranges{}); len(errs) > 0 {
				t.Error(errs)
			}
			var port int32
			if len(n.Spec.Ports) > 0 {
				port = n.Spec.Ports[0].NodePort
			}
			if got := fmt.Sprintf("%s %d", n.Spec.ClusterIP, port); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
