package service_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/api/v1/endpoints"

	"berth/reconcile"
	"berth/reconcile/service"
)

// stated are the Endpoints db of a file: subsets in words, "PORT,PORT: ADDRESS ADDRESS; NOT-READY".
func stated(subsets ...string) *corev1.Endpoints {
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "db"}}
	for _, text := range subsets {
		var s corev1.EndpointSubset
		ports, addresses, _ := strings.Cut(text, ":")
		for word := range strings.SplitSeq(ports, ",") {
			var n int32
			if _, err := fmt.Sscan(word, &n); err == nil {
				s.Ports = append(s.Ports, corev1.EndpointPort{Name: "p" + word, Port: n, Protocol: corev1.ProtocolTCP})
			}
		}
		ready, rest, _ := strings.Cut(addresses, ";")
		for ip := range strings.FieldsSeq(ready) {
			s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip})
		}
		for ip := range strings.FieldsSeq(rest) {
			s.NotReadyAddresses = append(s.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
		}
		e.Subsets = append(e.Subsets, s)
	}
	return e
}

// mirrors holds the slices of some Endpoints, as a store would.
type mirrors struct {
	in   service.MirrorInput
	kept shelf
}

// keep applies plans until nothing is left to do, and tells what was done.
func (m *mirrors) keep(t *testing.T, e *corev1.Endpoints, svc *corev1.Service) []string {
	t.Helper()
	m.in.Endpoints, m.in.Service = e, svc
	var did []string
	for range 3 {
		m.in.Nonce++
		m.in.Slices = m.kept.in.Slices
		plan := service.Mirror(m.in)
		if len(plan.Actions) == 0 {
			return did
		}
		for _, a := range plan.Actions {
			did = append(did, strings.SplitN(a.String(), " ", 2)[0])
			m.kept.do(a)
		}
	}
	t.Fatalf("not quiet after three passes: %v", did)
	return nil
}

// lines are the slices in words.
func (m *mirrors) lines() []string {
	var out []string
	for _, s := range m.kept.in.Slices {
		line := string(s.AddressType)
		for _, p := range s.Ports {
			line += fmt.Sprintf(" %d", *p.Port)
		}
		line += " →"
		for i := range s.Endpoints {
			line += " " + s.Endpoints[i].Addresses[0]
			if !*s.Endpoints[i].Conditions.Ready {
				line += "!"
			}
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func TestMirror(t *testing.T) {
	db := svc("db", func(s *corev1.Service) { s.Spec.Selector = nil })
	labelled := func(e *corev1.Endpoints, name, value string) *corev1.Endpoints {
		e.Labels = map[string]string{name: value}
		return e
	}
	lock := stated("1: 192.0.2.1")
	lock.Annotations = map[string]string{"control-plane.alpha.kubernetes.io/leader": "{}"}
	tests := map[string]struct {
		endpoints *corev1.Endpoints
		service   *corev1.Service
		want      []string
	}{
		"one":                      {stated("1: 192.0.2.1; 192.0.2.2"), db, []string{"IPv4 1 → 192.0.2.1 192.0.2.2!"}},
		"each family":              {stated("1: 192.0.2.1 2001:db8::1"), db, []string{"IPv4 1 → 192.0.2.1", "IPv6 1 → 2001:db8::1"}},
		"subsets of the same port": {stated("1: 192.0.2.1", "1: 192.0.2.2; 192.0.2.1"), db, []string{"IPv4 1 → 192.0.2.2 192.0.2.1!"}},
		"ports of the same addresses": {
			stated("1: 192.0.2.1 192.0.2.2", "2: 192.0.2.1 192.0.2.2", "3: 192.0.2.2"), db, []string{"IPv4 1 2 → 192.0.2.1 192.0.2.2", "IPv4 3 → 192.0.2.2"},
		},
		"without ports":           {stated(": 192.0.2.1"), db, []string{"IPv4 → 192.0.2.1"}},
		"without a Service":       {stated("1: 192.0.2.1"), nil, nil},
		"of one with a selector":  {stated("1: 192.0.2.1"), svc("db"), nil},
		"that say they are not":   {labelled(stated("1: 192.0.2.1"), discoveryv1.LabelSkipMirror, "true"), db, nil},
		"that say anything else":  {labelled(stated("1: 192.0.2.1"), discoveryv1.LabelSkipMirror, "yes"), db, []string{"IPv4 1 → 192.0.2.1"}},
		"the lock of some leader": {lock, db, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var m mirrors
			m.keep(t, stated("9: 192.0.2.9"), db) // whatever was before
			m.keep(t, tt.endpoints, tt.service)
			if diff := cmp.Diff(tt.want, m.lines()); diff != "" {
				t.Errorf("slices (-want +got):\n%s", diff)
			}
			led := len(service.TableOf(service.Input{Services: []*corev1.Service{db}, Endpoints: []*corev1.Endpoints{tt.endpoints}}).Endpoints[reconcile.KeyOf(db)]) > 0
			if tt.service == db && led != (tt.want != nil) {
				t.Errorf("who asks for slices and who is sent by them disagree: %t", led)
			}
		})
	}
}

// A slice says what its Endpoints say of themselves, but for who keeps it and what is a client's own note; and it is the same object for as long as it can be.
func TestMirrorsAreKept(t *testing.T) {
	db := svc("db", func(s *corev1.Service) { s.Spec.Selector = nil })
	e := stated("1: 192.0.2.1")
	e.Labels = map[string]string{"team": "a", discoveryv1.LabelManagedBy: "me"}
	e.Annotations = map[string]string{"note": "b", corev1.LastAppliedConfigAnnotation: "{}", corev1.EndpointsLastChangeTriggerTime: "now"}
	var m mirrors
	if diff := cmp.Diff([]string{"create"}, m.keep(t, e, db)); diff != "" {
		t.Error(diff)
	}
	s := m.kept.in.Slices[0]
	if diff := cmp.Diff(map[string]string{"team": "a", discoveryv1.LabelServiceName: "db", discoveryv1.LabelManagedBy: "endpointslicemirroring-controller.k8s.io"}, s.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"note": "b"}, s.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if owner := metav1.GetControllerOf(s); owner == nil || owner.Kind != "Endpoints" || owner.UID != "db" {
		t.Errorf("owner: %+v", owner)
	}
	for _, next := range []string{"1: 192.0.2.1", "2: 192.0.2.1", "2: 192.0.2.5"} { // other labels, another port, another address
		if diff := cmp.Diff([]string{"update"}, m.keep(t, stated(next), db)); diff != "" || m.kept.in.Slices[0].Name != s.Name {
			t.Errorf("%s: %s", next, diff)
		}
	}
	many := stated("1:")
	for i := range 1200 {
		many.Subsets[0].Addresses = append(many.Subsets[0].Addresses, corev1.EndpointAddress{IP: fmt.Sprintf("192.0.%d.%d", 2+i/200, 1+i%200)})
	}
	if diff := cmp.Diff([]string{"update", "Endpoints/shop/db:"}, m.keep(t, many, db)); diff != "" || len(m.kept.in.Slices[0].Endpoints) != 1000 {
		t.Errorf("%d of 1200: %s", len(m.kept.in.Slices[0].Endpoints), diff)
	}
}

// Pods of one Service whose ports differ make the subsets that Kubernetes makes: its own function finds nothing to do about them.
func TestSubsetsAreKubernetes(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		var pods []service.Pod
		var loose []corev1.EndpointSubset
		for i := range 1 + r.IntN(6) {
			p := newPod(i + 1)
			ready, at := r.IntN(3) > 0, corev1.EndpointAddress{IP: p.Status.PodIP, NodeName: new("node")}
			if !ready {
				unready(p.Pod)
			}
			at.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: p.Name, UID: p.UID}
			p.Spec.Containers[0].Ports = nil
			for _, name := range []string{"a", "b", "c"} {
				n := int32(r.IntN(3))
				if n == 0 {
					continue
				}
				p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{Name: name, ContainerPort: n})
				s := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: name, Port: n, Protocol: corev1.ProtocolTCP}}}
				if ready {
					s.Addresses = append(s.Addresses, at)
				} else {
					s.NotReadyAddresses = append(s.NotReadyAddresses, at)
				}
				loose = append(loose, s)
			}
			pods = append(pods, p)
		}
		var s shelf
		s.keep(t, svc("web", named("a", "b", "c")), pods...)
		if diff := cmp.Diff(endpoints.RepackSubsets(loose), endpoints.SortSubsets(s.in.Endpoints.DeepCopy().Subsets), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("seed %d (-Kubernetes +ours):\n%s", seed, diff)
		}
	}
}
