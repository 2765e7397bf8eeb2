package service_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile/service"
)

const (
	single   = corev1.IPFamilyPolicySingleStack
	prefer   = corev1.IPFamilyPolicyPreferDualStack
	requires = corev1.IPFamilyPolicyRequireDualStack
	v4, v6   = corev1.IPv4Protocol, corev1.IPv6Protocol
)

var (
	one  = service.Ranges{IPv4: netip.MustParsePrefix("10.43.0.0/16")}
	both = service.Ranges{IPv4: netip.MustParsePrefix("10.43.0.0/16"), IPv6: netip.MustParsePrefix("fd00:43::/108")}
)

func of(policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.IPFamilies = families
		if s.Spec.IPFamilyPolicy = nil; policy != "" {
			s.Spec.IPFamilyPolicy = &policy
		}
	}
}

func at(addresses ...string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = addresses[0], addresses }
}

// fresh is a Service as a file states it, without an address.
func fresh(change ...func(*corev1.Service)) *corev1.Service {
	return svc("web", append([]func(*corev1.Service){func(s *corev1.Service) { s.Spec.ClusterIP = "" }}, change...)...)
}

// families are what a Service has, with the families of its addresses in their place.
func families(s *corev1.Service) string {
	var words []string
	for _, text := range s.Spec.ClusterIPs {
		switch a, err := netip.ParseAddr(text); {
		case err != nil:
			words = append(words, text)
		case both.IPv6.Contains(a):
			words = append(words, "six")
		case both.IPv4.Contains(a):
			words = append(words, "four")
		}
	}
	if len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] != s.Spec.ClusterIP {
		words = append(words, "but "+s.Spec.ClusterIP)
	}
	policy := "nil"
	if p := s.Spec.IPFamilyPolicy; p != nil {
		policy = string(*p)
	}
	return fmt.Sprintf("%s %v %s", policy, s.Spec.IPFamilies, strings.Join(words, " "))
}

func bare(s *corev1.Service)     { s.Spec.Selector, s.Spec.ClusterIP = nil, corev1.ClusterIPNone }
func headless(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }

// What a new Service is given, on a machine of one family and of both.
func TestFamiliesOfANewService(t *testing.T) {
	const (
		notDual = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
		multi   = "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple "
	)
	tests := map[string]struct {
		svc           *corev1.Service
		onOne, onBoth string
	}{
		"nothing said":         {fresh(), "SingleStack [IPv4] four", "SingleStack [IPv4] four"},
		"one":                  {fresh(of(single)), "SingleStack [IPv4] four", "SingleStack [IPv4] four"},
		"both if there are":    {fresh(of(prefer)), "PreferDualStack [IPv4] four", "PreferDualStack [IPv4 IPv6] four six"},
		"both":                 {fresh(of(requires)), notDual, "RequireDualStack [IPv4 IPv6] four six"},
		"the other":            {fresh(of("", v6)), "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster", "SingleStack [IPv6] six"},
		"the other first":      {fresh(of(prefer, v6)), "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster", "PreferDualStack [IPv6 IPv4] six four"},
		"the first is said":    {fresh(of(prefer, v4)), "PreferDualStack [IPv4] four", "PreferDualStack [IPv4 IPv6] four six"},
		"two, and no policy":   {fresh(of("", v4, v6)), multi + "IP families are specified", multi + "IP families are specified"},
		"an address":           {fresh(at("10.43.7.7")), "SingleStack [IPv4] four", "SingleStack [IPv4] four"},
		"an address of IPv6":   {fresh(at("fd00:43::77")), "spec.clusterIPs[0]: Invalid value: [\"fd00:43::77\"]: IPv6 is not configured on this cluster", "SingleStack [IPv6] six"},
		"an address, and both": {fresh(at("fd00:43::77"), of(requires)), "spec.clusterIPs[0]: Invalid value: [\"fd00:43::77\"]: IPv6 is not configured on this cluster", "RequireDualStack [IPv6 IPv4] six four"},
		"two addresses":        {fresh(at("fd00:43::77", "10.43.7.7"), of(requires)), "spec.clusterIPs[0]: Invalid value: [\"fd00:43::77\",\"10.43.7.7\"]: IPv6 is not configured on this cluster", "RequireDualStack [IPv6 IPv4] six four"},
		"two, and one family":  {fresh(at("10.43.7.7", "fd00:43::77"), of(single, v4, v6)), multi + "cluster IPs are specified", multi + "cluster IPs are specified"},
		"headless":             {fresh(headless), "SingleStack [IPv4] None", "SingleStack [IPv4] None"},
		"headless, both":       {fresh(headless, of(prefer)), "PreferDualStack [IPv4] None", "PreferDualStack [IPv4 IPv6] None"},
		"of others":            {fresh(bare), "RequireDualStack [IPv4 IPv6] None", "RequireDualStack [IPv4 IPv6] None"},
		"of others, one":       {fresh(bare, of(single, v6)), "SingleStack [IPv6] None", "SingleStack [IPv6] None"},
		"elsewhere":            {fresh(func(s *corev1.Service) { s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName} }), "nil [] ", "nil [] "},
	}
	for name, tt := range tests {
		for ranges, want := range map[service.Ranges]string{one: tt.onOne, both: tt.onBoth} {
			t.Run(fmt.Sprint(name, ranges), func(t *testing.T) {
				refused := service.Refuse(tt.svc, nil, ranges)
				n := tt.svc.DeepCopy()
				errs := service.Carry(n, nil, ranges)
				var got string
				if len(errs) > 0 {
					got = errs[0].Error()
					if changed, refused := service.Allocate([]*corev1.Service{tt.svc}, ranges); len(changed) > 0 && !strings.HasSuffix(name, "family") || len(refused) != 1 && !strings.HasSuffix(name, "family") {
						t.Errorf("changed %v, refused %v", changed, refused)
					}
				} else {
					if changed, _ := service.Allocate([]*corev1.Service{n}, ranges); len(changed) > 0 {
						n = changed[0]
					}
					got = families(n)
					if again, _ := service.Allocate([]*corev1.Service{n}, ranges); len(again) > 0 {
						t.Errorf("again: %s", families(again[0]))
					}
				}
				if got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				if (len(refused) > 0) != (len(errs) > 0) || len(errs) > 0 && refused[0].Error() != want {
					t.Errorf("a client is told %v", refused)
				}
			})
		}
	}
}

// What becomes of a Service whose file changes: the first family and its address stay, the second comes and goes with the policy.
func TestFamiliesOfAChangedService(t *testing.T) {
	dual := func(policy corev1.IPFamilyPolicy) *corev1.Service {
		return svc("web", at("10.43.1.1", "fd00:43::11"), of(policy, v4, v6))
	}
	plain := func(policy corev1.IPFamilyPolicy) *corev1.Service { return svc("web", at("10.43.1.1"), of(policy, v4)) }
	tests := map[string]struct {
		old, file *corev1.Service
		ranges    service.Ranges
		want      string
	}{
		"nothing new":                     {dual(requires), fresh(of(requires)), both, "RequireDualStack [IPv4 IPv6] [10.43.1.1 fd00:43::11]"},
		"the policy is no longer said":    {dual(requires), fresh(), both, "RequireDualStack [IPv4 IPv6] [10.43.1.1 fd00:43::11]"},
		"one from now on":                 {dual(requires), fresh(of(single)), both, "SingleStack [IPv4] [10.43.1.1]"},
		"the first as it was stated":      {dual(prefer), fresh(of(prefer, v4)), both, "PreferDualStack [IPv4 IPv6] [10.43.1.1 fd00:43::11]"},
		"the address as it was stated":    {dual(prefer), fresh(of(prefer), at("10.43.1.1")), both, "PreferDualStack [IPv4 IPv6] [10.43.1.1 fd00:43::11]"},
		"both from now on":                {plain(single), fresh(of(requires)), both, "RequireDualStack [IPv4 IPv6] [10.43.1.1 fd00:43::]"},
		"both if there are from now on":   {plain(single), fresh(of(prefer)), both, "PreferDualStack [IPv4 IPv6] [10.43.1.1 fd00:43::]"},
		"both if there are, as before":    {plain(prefer), fresh(of(prefer)), both, "PreferDualStack [IPv4] [10.43.1.1]"},
		"the machine has but one":         {plain(single), fresh(of(requires)), one, "spec.ipFamilyPolicy: this cluster is not configured for dual-stack services"},
		"the machine has but one now":     {dual(prefer), fresh(of(prefer)), one, "PreferDualStack [IPv4 IPv6] [10.43.1.1 fd00:43::11]"},
		"another first":                   {plain(single), fresh(of("", v6)), both, "spec.ipFamilies[0]: may not change once set"},
		"the other way around":            {dual(requires), fresh(of(requires, v6, v4)), both, "spec.ipFamilies[0]: may not change once set"},
		"a second address":                {plain(single), fresh(of(requires), at("10.43.1.1", "fd00:43::99")), both, "RequireDualStack [IPv4 IPv6] [10.43.1.1 fd00:43::99]"},
		"headless and the other":          {svc("web", at("None"), of(single, v4)), fresh(headless, of("", v6)), both, "SingleStack [IPv6] [None]"},
		"headless and both":               {svc("web", at("None"), of(single, v6)), fresh(headless, of(prefer)), both, "PreferDualStack [IPv6 IPv4] [None]"},
		"of others, and now of pods":      {svc("web", bare, of(requires, v4, v6)), fresh(headless), one, "SingleStack [IPv4] [None]"},
		"an address instead of none":      {svc("web", at("None"), of(single, v4)), fresh(), both, "SingleStack [IPv4] [10.43.]"},
		"a name elsewhere, and now pods":  {svc("web", func(s *corev1.Service) { s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName} }), fresh(of(prefer)), both, "PreferDualStack [IPv4 IPv6] [10.43. fd00:43::]"},
		"pods, and now a name elsewhere":  {dual(requires), svc("web", func(s *corev1.Service) { s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName} }), both, "nil [] []"},
		"from before there were families": {svc("web"), fresh(), both, "SingleStack [IPv4] [10.43.1.1]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := tt.file.DeepCopy()
			var got string
			if errs := service.Carry(n, tt.old, tt.ranges); len(errs) > 0 {
				got = errs[0].Field + ": " + errs[0].Detail
			} else {
				if changed, _ := service.Allocate([]*corev1.Service{n}, tt.ranges); len(changed) > 0 {
					n = changed[0]
				}
				policy := "nil"
				if n.Spec.IPFamilyPolicy != nil {
					policy = string(*n.Spec.IPFamilyPolicy)
				}
				had := fmt.Sprint(tt.old.Spec.ClusterIPs, tt.file.Spec.ClusterIPs, tt.old.Spec.ClusterIP)
				var ips []string
				for _, ip := range n.Spec.ClusterIPs { // of those that are new only the range
					switch {
					case strings.Contains(had, ip):
					case strings.HasPrefix(ip, "10.43."):
						ip = "10.43."
					case both.IPv6.Contains(netip.MustParseAddr(ip)):
						ip = "fd00:43::"
					}
					ips = append(ips, ip)
				}
				got = fmt.Sprintf("%s %v %v", policy, n.Spec.IPFamilies, ips)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What a client's change is answered, where a file's change means less.
func TestRefusedFamilies(t *testing.T) {
	dual := svc("web", at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6))
	tests := map[string]struct {
		wish *corev1.Service
		want string
	}{
		"the same":               {dual, ""},
		"not repeated":           {fresh(), ""},
		"one":                    {svc("web", at("10.43.1.1", "fd00:43::11"), of(single, v4, v6)), ""},
		"one family":             {svc("web", at("10.43.1.1", "fd00:43::11"), of(prefer, v4)), "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary IP family"},
		"one address":            {svc("web", at("10.43.1.1"), of(prefer, v4, v6)), "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be 'SingleStack' to release the secondary cluster IP"},
		"a second that is taken": {svc("new", at("10.43.1.2", "fd00:43::11"), of(requires)), "spec.clusterIPs: Invalid value: [\"10.43.1.2\",\"fd00:43::11\"]: failed to allocate IP fd00:43::11: provided IP is already allocated"},
		"a second elsewhere":     {svc("new", at("10.43.1.2", "fd00:44::11"), of(requires)), "spec.clusterIPs: Invalid value: [\"10.43.1.2\",\"fd00:44::11\"]: failed to allocate IP fd00:44::11: the provided network does not match the current range"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got string
			for _, err := range service.Refuse(tt.wish, []*corev1.Service{dual}, both) {
				got += err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// six gives a pod its second address.
func six(p *corev1.Pod) {
	p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}, {IP: "fd00:42::" + p.Status.PodIP[len("10.42.0."):]}}
}

func TestTrafficOfBothFamilies(t *testing.T) {
	pods := []service.Pod{newPod(1, six), newPod(2)}
	slice := func(kind discoveryv1.AddressType, addresses ...string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-" + string(kind), Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: kind, Ports: []discoveryv1.EndpointPort{{Port: new(int32(5432))}}, Endpoints: []discoveryv1.Endpoint{{Addresses: addresses}},
		}
	}
	node := func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 31000 }
	noSelector := func(s *corev1.Service) { s.Spec.Selector = nil }
	tests := map[string]struct {
		in   service.Input
		want []string
	}{
		"both": {
			service.Input{Services: []*corev1.Service{svc("web", at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6))}, Pods: pods},
			[]string{"web [10.43.1.1 fd00:43::11] tcp/80 → 1:8080 2:8080 [fd00:42::1]:8080", "held web-1", "held web-2"},
		},
		"a port of the machine counts a pod once": {
			service.Input{Services: []*corev1.Service{svc("web", at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6), node)}, Pods: pods},
			[]string{
				"web [10.43.1.1 fd00:43::11] tcp/80 → 1:8080 2:8080 [fd00:42::1]:8080", "port tcp/31000 of Service/shop/web → 1:8080 2:8080", "held web-1", "held web-2",
			},
		},
		"IPv6 only": {
			service.Input{Services: []*corev1.Service{svc("web", at("fd00:43::11"), of(single, v6), node)}, Pods: pods},
			[]string{"web [fd00:43::11] tcp/80 → [fd00:42::1]:8080", "port tcp/31000 of Service/shop/web → [fd00:42::1]:8080", "held web-1"},
		},
		"IPv4 only": {
			service.Input{Services: []*corev1.Service{svc("web")}, Pods: pods},
			[]string{"web [10.43.1.1] tcp/80 → 1:8080 2:8080", "held web-1", "held web-2"},
		},
		"headless": {
			service.Input{Services: []*corev1.Service{svc("web", at("None"), of(requires, v6, v4))}, Pods: pods[:1]},
			[]string{"web [] tcp/80 → 1:8080 [fd00:42::1]:8080", `web host "" 10.42.0.1 [{ tcp 8080}]`, `web host "" fd00:42::1 [{ tcp 8080}]`, "held web-1"},
		},
		"addresses from outside": {
			service.Input{Services: []*corev1.Service{
				svc("web", at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6), func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.5", "2001:db8::5"} }),
				svc("four", at("10.43.1.2"), of(single, v4), func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"2001:db8::6"} }),
			}},
			[]string{"four [10.43.1.2] tcp/80 → ", "web [10.43.1.1 fd00:43::11 192.0.2.5 2001:db8::5] tcp/80 → "},
		},
		"slices that a file states": {
			service.Input{
				Services: []*corev1.Service{svc("web", noSelector, at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6))},
				Slices:   []*discoveryv1.EndpointSlice{slice(discoveryv1.AddressTypeIPv6, "2001:db8::9", "fe80::1", "::1"), slice(discoveryv1.AddressTypeIPv4, "192.0.2.9"), slice(discoveryv1.AddressTypeFQDN, "db.example.com")},
			},
			[]string{"web [10.43.1.1 fd00:43::11] tcp/80 → 192.0.2.9:5432 [2001:db8::9]:5432"},
		},
		"slices of the other family": {
			service.Input{Services: []*corev1.Service{svc("web", noSelector, node)}, Slices: []*discoveryv1.EndpointSlice{slice(discoveryv1.AddressTypeIPv6, "2001:db8::9")}},
			[]string{"web [10.43.1.1] tcp/80 → ", "port tcp/31000 of Service/shop/web → "},
		},
		"without its first address it is not there": {
			service.Input{Services: []*corev1.Service{
				svc("a", at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6)), svc("b", at("10.43.1.1", "fd00:43::12"), of(prefer, v4, v6)),
			}},
			[]string{
				"a [10.43.1.1 fd00:43::11] tcp/80 → ",
				"Service/shop/b: AddressUnavailable: clusterIP 10.43.1.1 is that of Service/shop/a, which is older",
			},
		},
		"a second address is one Service's": {
			service.Input{Services: []*corev1.Service{
				svc("a", at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6)), svc("b", at("10.43.1.2", "fd00:43::11"), of(prefer, v4, v6)),
			}},
			[]string{
				"a [10.43.1.1 fd00:43::11] tcp/80 → ", "b [10.43.1.2] tcp/80 → ",
				"Service/shop/b: AddressUnavailable: clusterIP fd00:43::11 is that of Service/shop/a, which is older",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.in.Ranges = both
			if diff := cmp.Diff(tt.want, lines(service.TableOf(tt.in))); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a machine that has IPv6 no more", func(t *testing.T) {
		in := service.Input{Ranges: one, Services: []*corev1.Service{svc("web", at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6))}}
		if diff := cmp.Diff([]string{"web [10.43.1.1] tcp/80 → "}, lines(service.TableOf(in))); diff != "" {
			t.Errorf("table (-want +got):\n%s", diff)
		}
	})
}

func TestSlicesOfBothFamilies(t *testing.T) {
	dual := svc("web", at("10.43.1.1", "fd00:43::11"), of(prefer, v4, v6))
	var s shelf
	if diff := cmp.Diff([]string{"create", "create", "create"}, s.keep(t, dual, newPod(1, six), newPod(2))); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	kinds := map[discoveryv1.AddressType]int{}
	for _, e := range s.in.Slices {
		kinds[e.AddressType] += len(e.Endpoints)
	}
	if diff := cmp.Diff(map[discoveryv1.AddressType]int{"IPv4": 2, "IPv6": 1}, kinds); diff != "" {
		t.Errorf("slices (-want +got):\n%s", diff)
	}
	if sub := s.in.Endpoints.Subsets; len(sub) != 1 || len(sub[0].Addresses) != 2 || sub[0].Addresses[0].IP != "10.42.0.1" {
		t.Errorf("endpoints: %+v", sub)
	}
	if did := s.keep(t, svc("web", at("10.43.1.1"), of(single, v4)), newPod(1, six), newPod(2)); len(did) != 1 || did[0] != "delete" {
		t.Errorf("of one family again: %v", did)
	}
	other := svc("web", at("fd00:43::11"), of(single, v6))
	s.keep(t, other, newPod(1, six))
	if sub := s.in.Endpoints.Subsets; len(sub) != 1 || len(sub[0].Addresses) != 1 || sub[0].Addresses[0].IP != "fd00:42::1" {
		t.Errorf("endpoints of IPv6: %+v", sub)
	}
	if len(s.in.Slices) != 1 || s.in.Slices[0].AddressType != discoveryv1.AddressTypeIPv6 {
		t.Errorf("slices of IPv6: %+v", s.in.Slices)
	}
}
