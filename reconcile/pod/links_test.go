package pod_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
)

func TestServiceLinks(t *testing.T) {
	service := func(name, address string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{ClusterIP: address, Ports: ports}}
	}
	services := []*corev1.Service{
		service("no-head", corev1.ClusterIPNone, corev1.ServicePort{Port: 1}),
		service("no-address", "", corev1.ServicePort{Port: 2}),
		service("redis-primary", "10.43.0.11", corev1.ServicePort{Name: "redis", Port: 6379, Protocol: corev1.ProtocolTCP}, corev1.ServicePort{Name: "gossip-in", Port: 7000, Protocol: corev1.ProtocolUDP}),
	}
	all := []string{
		"REDIS_PRIMARY_SERVICE_HOST=10.43.0.11", "REDIS_PRIMARY_SERVICE_PORT=6379", "REDIS_PRIMARY_PORT=tcp://10.43.0.11:6379",
		"REDIS_PRIMARY_SERVICE_PORT_REDIS=6379", "REDIS_PRIMARY_PORT_6379_TCP=tcp://10.43.0.11:6379", "REDIS_PRIMARY_PORT_6379_TCP_PROTO=tcp",
		"REDIS_PRIMARY_PORT_6379_TCP_PORT=6379", "REDIS_PRIMARY_PORT_6379_TCP_ADDR=10.43.0.11",
		"REDIS_PRIMARY_SERVICE_PORT_GOSSIP_IN=7000", "REDIS_PRIMARY_PORT_7000_UDP=udp://10.43.0.11:7000", "REDIS_PRIMARY_PORT_7000_UDP_PROTO=udp",
		"REDIS_PRIMARY_PORT_7000_UDP_PORT=7000", "REDIS_PRIMARY_PORT_7000_UDP_ADDR=10.43.0.11",
	}
	own := []corev1.EnvVar{{Name: "REDIS_PRIMARY_PORT", Value: "mine"}, {Name: "WHERE", Value: "$(REDIS_PRIMARY_SERVICE_HOST)"}}
	tests := map[string]struct {
		change func(*corev1.PodSpec)
		want   []string
	}{
		"as a kubelet makes them": {func(*corev1.PodSpec) {}, all},
		"switched off":            {func(s *corev1.PodSpec) { s.EnableServiceLinks = new(bool) }, nil},
		"own variables are stronger, and may use them": {
			func(s *corev1.PodSpec) { s.Containers[0].Env = own },
			append(strings.Split(strings.Replace(strings.Join(all, " "), "PRIMARY_PORT=tcp://10.43.0.11:6379", "PRIMARY_PORT=mine", 1), " "), "WHERE=10.43.0.11"),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := fresh()
			in.Services = services
			tt.change(&in.Pod.Spec)
			var env []string
			for _, a := range pod.Plan(in).Actions {
				if s, ok := a.(reconcile.StartContainer); ok {
					env = s.Config.Env
				}
			}
			if len(env) == 0 {
				env = nil
			}
			if diff := cmp.Diff(tt.want, env); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}
