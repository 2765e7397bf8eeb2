package controller

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/manifests"
	"berth/runtime"
)

// guard is a NetworkPolicy for the pods of web("web" …): only pods labelled as friends may connect.
func guard() manifests.Object {
	return object(manifests.Key{Kind: "NetworkPolicy", Group: "networking.k8s.io", Namespace: "shop", Name: "web"}, &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
				{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "friend"}}, NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "red"}}},
			}}},
		},
	})
}

func namespace(labels map[string]string) manifests.Object {
	return object(manifests.Key{Kind: "Namespace", Name: "shop"}, &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: labels},
	})
}

// restricted are the addresses of the pods that others may not connect to, friends those that may all the same.
func restricted(p runtime.Policies) (restricted, friends []netip.Addr) {
	for _, g := range p.Groups {
		restricted = append(restricted, g.Pods...)
	}
	for _, set := range p.Peers {
		friends = append(friends, set.Pods...)
	}
	return restricted, friends
}

// addresses are those of the pods of a workload, sorted.
func (w *world) addresses(prefix string) (out []netip.Addr) {
	for _, p := range w.fake.Pods() {
		if strings.HasPrefix(p.Name, prefix) {
			out = append(out, netip.MustParseAddr(p.Sandbox.IP))
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// late is a source that says nothing until it has something new.
type late struct{ *files }

func (l late) Run(ctx context.Context, emit func(manifests.Snapshot)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-l.snapshots:
			emit(s)
		}
	}
}

func TestPoliciesFollowPods(t *testing.T) {
	inWorld(t, func(w *world) {
		red := namespace(map[string]string{"team": "red"})
		w.start()
		w.write(guard(), red, web("web", "web:1", 2), web("friend", "web:1", 1))
		check := func(when string, webs int, friends []netip.Addr) {
			t.Helper()
			w.settle()
			is, may := restricted(w.fake.Policies())
			if webs > 0 && !slices.Equal(is, w.addresses("web-")) || len(is) != webs || !slices.Equal(may, friends) {
				t.Errorf("%s: restricted %v of %v, friends %v, want %v", when, is, w.addresses(""), may, friends)
			}
		}
		check("at first", 2, w.addresses("friend-"))
		w.write(guard(), red, web("web", "web:1", 4), web("friend", "web:1", 1))
		check("scaled", 4, w.addresses("friend-"))
		w.write(guard(), namespace(nil), web("web", "web:1", 4), web("friend", "web:1", 1))
		check("without the label", 4, nil)
		w.write(web("web", "web:1", 4), web("friend", "web:1", 1), namespace(nil))
		w.pass(DefaultPruneDelay)
		check("without the policy", 0, nil)
		w.settle()
	})
}

// What is restricted does not run a moment without: a pod gets its address, and no program before the machine goes by the policies for it.
func TestNothingRunsBeforeItsPolicies(t *testing.T) {
	inWorld(t, func(w *world) {
		var mu sync.Mutex
		var now []netip.Addr
		broken, atStart := true, map[string][]netip.Addr{} // who is restricted, when a container of the pod starts
		w.fake.OnPolicies(func(p runtime.Policies) error {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				return errors.New("no room for it")
			}
			now, _ = restricted(p)
			return nil
		})
		w.fake.OnStart(func(uid string, _ runtime.ContainerConfig) error {
			mu.Lock()
			defer mu.Unlock()
			atStart[uid] = now
			return nil
		})
		check := func() {
			t.Helper()
			for _, p := range w.fake.Pods() {
				if strings.HasPrefix(p.Name, "web-") && !slices.Contains(atStart[p.UID], netip.MustParseAddr(p.Sandbox.IP)) {
					t.Errorf("%s started when restricted were only %v", p.Name, atStart[p.UID])
				}
			}
		}
		w.start()
		machine := func(d *appsv1.Deployment) { d.Spec.Template.Spec.HostNetwork = true }
		w.write(guard(), web("web", "web:1", 2), web("host", "web:1", 1, machine))
		w.pass(5 * time.Second)
		w.wantRunning(1) // in the machine's network
		if n := len(w.addresses("web-")); n != 2 {
			t.Errorf("%d sandboxes", n)
		}
		w.pass(time.Minute)
		if p := w.c.Status().Problems; len(p) != 1 || p[0].Reason != "FailedNetworkPolicies" {
			t.Errorf("problems: %v", p)
		}
		mu.Lock()
		broken = false
		mu.Unlock()
		w.settle()
		w.wantRunning(3)
		check()
		w.write(guard(), web("web", "web:2", 3), web("host", "web:1", 1, machine))
		w.settle()
		w.wantRunning(4)
		check()
	})
}

// Clients of a published port are judged there: pods see the machine.
func TestPoliciesAtPublishedPorts(t *testing.T) {
	inWorld(t, func(w *world) {
		published := svc("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
		red := namespace(map[string]string{"team": "red"})
		w.start()
		w.write(red, published, web("web", "web:1", 2), web("friend", "web:1", 1))
		check := func(when string, restricted int) {
			t.Helper()
			w.settle()
			ports := w.fake.Traffic().Ports
			if len(ports) == 0 {
				t.Fatalf("%s: no port is published", when)
			}
			friend := w.addresses("friend-")[0]
			for _, p := range ports {
				if len(p.Only) != restricted {
					t.Errorf("%s: %d backends are restricted, want %d", when, len(p.Only), restricted)
				}
				for _, o := range p.Only {
					if !slices.Contains(p.Backends, o.Backend) || !slices.ContainsFunc(o.Sources, func(r runtime.AddrRange) bool { return r.Contains(friend) }) ||
						slices.ContainsFunc(o.Sources, func(r runtime.AddrRange) bool { return r.Contains(netip.MustParseAddr("192.0.2.7")) }) {
						t.Errorf("%s: %v", when, o)
					}
				}
			}
		}
		check("without a policy", 0)
		w.write(red, published, guard(), web("web", "web:1", 2), web("friend", "web:1", 1))
		check("with a policy", 2)
		first := true
		w.fake.OnRoute(func(tr runtime.Traffic) error {
			if first = false; len(tr.Ports) > 0 && len(tr.Ports[0].Only) != len(tr.Ports[0].Backends) {
				t.Errorf("published without restriction: %v", tr.Ports[0])
			}
			return nil
		})
		w.restart()
		check("after a restart", 2)
		if first {
			t.Error("nothing was routed")
		}
	})
}

// A new controller takes over what the last one has set, and its own first table restricts what runs.
func TestPoliciesOutliveTheController(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(guard(), web("web", "web:1", 3))
		w.settle()
		w.fake.OnPolicies(func(p runtime.Policies) error {
			if is, _ := restricted(p); len(is) != 3 {
				t.Errorf("restricted are only %v", is)
			}
			return nil
		})
		w.restart()
		w.settle()
		w.dir = t.TempDir() // also when the state is lost, and the source is late
		w.opts = func(o *Options) { o.Source = late{w.source} }
		w.restart()
		w.pass(5 * time.Second)
		w.write(guard(), web("web", "web:1", 3))
		w.settle()
		if is, _ := restricted(w.fake.Policies()); len(is) != 3 {
			t.Errorf("restricted are only %v", is)
		}
	})
}
