package controller

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/manifests"
	"berth/reconcile"
)

// endpointsOfFile are the Endpoints db as a file has them.
func endpointsOfFile(ips ...string) manifests.Object {
	e := &corev1.Endpoints{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Endpoints"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Subsets:    []corev1.EndpointSubset{{Ports: []corev1.EndpointPort{{Port: 9000, Protocol: corev1.ProtocolTCP}}}},
	}
	for _, ip := range ips {
		e.Subsets[0].Addresses = append(e.Subsets[0].Addresses, corev1.EndpointAddress{IP: ip})
	}
	return object(manifests.Key{Kind: "Endpoints", Namespace: "shop", Name: "db"}, e)
}

// telling are the slices and Endpoints of all Services: who made them, and what addresses they have.
func (w *world) telling() []string {
	var out []string
	for _, s := range all[*discoveryv1.EndpointSlice](w.c.store, reconcile.KindEndpointSlice) {
		line := "slice by " + metav1.GetControllerOf(s).Kind
		for i := range s.Endpoints {
			line += " " + s.Endpoints[i].Addresses[0]
		}
		out = append(out, line)
	}
	for _, e := range all[*corev1.Endpoints](w.c.store, reconcile.KindEndpoints) {
		line := "endpoints"
		if owner := metav1.GetControllerOf(e); owner != nil {
			line += " by " + owner.Kind
		}
		for _, s := range e.Subsets {
			for _, a := range s.Addresses {
				line += " " + a.IP
			}
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// What files state of a Service's endpoints is told by slices as long as it counts, whoever comes first, and what berth says itself gives way to it.
func TestStatedEndpointsAreMirrored(t *testing.T) {
	bare := func(s *corev1.Service) { s.Spec.Selector = nil }
	inWorld(t, func(w *world) {
		w.start()
		check := func(when string, want ...string) {
			t.Helper()
			w.settle()
			if got := w.telling(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
			w.restart()
			w.settle()
			if got := w.telling(); !slices.Equal(got, want) {
				t.Errorf("%s, after a restart: %q, want %q", when, got, want)
			}
		}
		gone := func(when string, objects []manifests.Object, want ...string) {
			t.Helper()
			w.write(objects...)
			w.pass(DefaultPruneDelay)
			check(when, want...)
		}
		w.write(endpointsOfFile("192.0.2.7"))
		check("without a Service", "endpoints 192.0.2.7")
		w.write(endpointsOfFile("192.0.2.7"), svc("db", bare))
		check("with one", "endpoints 192.0.2.7", "slice by Endpoints 192.0.2.7")
		w.write(endpointsOfFile("192.0.2.8"), svc("db", bare))
		check("with another address", "endpoints 192.0.2.8", "slice by Endpoints 192.0.2.8")
		if got := fmt.Sprint(w.fake.Traffic().Services[0].Ports[0].Backends); got != "[192.0.2.8:9000]" {
			t.Errorf("reached at %s", got)
		}
		w.write(endpointsOfFile("192.0.2.8"), svc("db"))
		check("with a selector", "endpoints 192.0.2.8", "slice by Service")
		gone("without them", []manifests.Object{svc("db")}, "endpoints by Service", "slice by Service")
		w.write(endpointsOfFile("192.0.2.9"), svc("db", bare))
		check("in one save", "endpoints 192.0.2.9", "slice by Endpoints 192.0.2.9")
		gone("without the Service", []manifests.Object{endpointsOfFile("192.0.2.9")}, "endpoints 192.0.2.9")
		gone("without both", nil)
	})
}
