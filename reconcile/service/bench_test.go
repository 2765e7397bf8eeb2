package service_test

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile/service"
)

// BenchmarkTable makes the table of so many Services with ten pods each, as every change of a pod does.
func BenchmarkTable(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			in := service.Input{Ranges: service.Ranges{IPv4: netip.MustParsePrefix("10.43.0.0/16")}}
			for i := range n {
				name := fmt.Sprintf("s%d", i)
				in.Services = append(in.Services, svc(name, func(s *corev1.Service) { s.Spec.ClusterIP = fmt.Sprintf("10.43.%d.%d", 1+i/250, 1+i%250) }))
				for j := range 10 {
					in.Pods = append(in.Pods, newPod(j, func(p *corev1.Pod) {
						p.Labels["app"] = name
						p.Status.PodIP = fmt.Sprintf("10.%d.%d.%d", 44+j, i/250, 1+i%250)
					}))
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if t := service.TableOf(in); len(t.Traffic.Services) != n || len(t.Traffic.Services[0].Ports[0].Backends) != 10 {
					b.Fatal("not served")
				}
			}
		})
	}
}
