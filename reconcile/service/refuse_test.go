package service

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRefuse(t *testing.T) {
	svc := func(name, addr string, kind corev1.ServiceType, ports ...int32) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.ServiceSpec{Type: kind, ClusterIP: addr}}
		for _, p := range ports {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 80, NodePort: p})
		}
		return s
	}
	there := []*corev1.Service{svc("a", "10.0.0.20", corev1.ServiceTypeNodePort, 30001), svc("b", "8.8.8.8", corev1.ServiceTypeNodePort, 30001, 80)}
	tests := map[string]struct {
		wish *corev1.Service
		want []string
	}{
		"nothing stated":                     {svc("c", "", corev1.ServiceTypeNodePort, 0), nil},
		"free":                               {svc("c", "10.0.0.21", corev1.ServiceTypeNodePort, 30002), nil},
		"a port taken":                       {svc("c", "", corev1.ServiceTypeNodePort, 30002, 30001), []string{"spec.ports[1].nodePort: Invalid value: 30001: provided port is already allocated"}},
		"not opened":                         {svc("c", "", corev1.ServiceTypeClusterIP, 30001), nil},
		"a port too low":                     {svc("c", "", corev1.ServiceTypeLoadBalancer, 80), []string{"spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"}},
		"an address taken":                   {svc("c", "10.0.0.20", corev1.ServiceTypeClusterIP), []string{`spec.clusterIPs: Invalid value: ["10.0.0.20"]: failed to allocate IP 10.0.0.20: provided IP is already allocated`}},
		"one that is kept":                   {svc("c", "10.0.0.1", corev1.ServiceTypeClusterIP), []string{`spec.clusterIPs: Invalid value: ["10.0.0.1"]: failed to allocate IP 10.0.0.1: provided IP is already allocated`}},
		"out of the range":                   {svc("c", "10.0.1.1", corev1.ServiceTypeClusterIP), []string{`spec.clusterIPs: Invalid value: ["10.0.1.1"]: failed to allocate IP 10.0.1.1: the provided network does not match the current range`}},
		"no address":                         {svc("c", corev1.ClusterIPNone, corev1.ServiceTypeClusterIP), nil},
		"its own":                            {svc("a", "10.0.0.20", corev1.ServiceTypeNodePort, 30001), nil},
		"what it has in vain, from its file": {svc("b", "8.8.8.8", corev1.ServiceTypeNodePort, 30001, 80), nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range Refuse(tc.wish, there, Ranges{IPv4: netip.MustParsePrefix("10.0.0.0/24")}) {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}
