package controller

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/runtime"
)

// svc is a Service for the pods of web(name …).
func svc(name string, change ...func(*corev1.Service)) manifests.Object {
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": name}, SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return object(manifests.Key{Kind: "Service", Namespace: "shop", Name: name}, s)
}

// backends are the pods behind the first port of a Service of the routed table, by name.
func (w *world) backends(name string) []string {
	pods := map[string]string{}
	for _, p := range w.c.Status().Pods {
		pods[p.IP] = p.Name
	}
	var out []string
	for _, s := range w.fake.Traffic().Services {
		if s.Name != name {
			continue
		}
		for _, b := range s.Ports[0].Backends {
			out = append(out, pods[b.Addr().String()])
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) storedService(t *testing.T, name string) *corev1.Service {
	t.Helper()
	s, ok := store.Get[*corev1.Service](w.c.store, reconcile.Key{Kind: "Service", Namespace: "shop", Name: name})
	if !ok {
		t.Fatalf("no Service %s", name)
	}
	return s
}

func TestServiceFollowsItsPods(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3), svc("web"))
		w.settle()
		if got := w.backends("web"); !slices.Equal(got, w.running()) || len(got) != 3 {
			t.Errorf("routed to %v, running %v", got, w.running())
		}
		w.write(web("web", "web:1", 1), svc("web"))
		w.settle()
		if got := w.backends("web"); len(got) != 1 {
			t.Errorf("routed to %v", got)
		}
		w.write(web("web", "web:1", 1))
		w.pass(DefaultPruneDelay)
		w.settle()
		if got := w.fake.Traffic().Services; len(got) != 0 {
			t.Errorf("still served: %v", got)
		}
	})
}

// An address that was allocated stays when the file changes, when the controller dies, and when its state is lost.
func TestServiceKeepsItsAddress(t *testing.T) {
	inWorld(t, func(w *world) {
		nodePort := func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }
		w.start()
		w.write(svc("web", nodePort), svc("other"))
		w.settle()
		was := w.storedService(t, "web").Spec
		if !netip.MustParsePrefix("10.43.0.0/16").Contains(netip.MustParseAddr(was.ClusterIP)) || was.Ports[0].NodePort < 30000 {
			t.Fatalf("allocated %s and %d", was.ClusterIP, was.Ports[0].NodePort)
		}
		check := func(when string) {
			t.Helper()
			w.settle()
			if is := w.storedService(t, "web").Spec; is.ClusterIP != was.ClusterIP || is.Ports[0].NodePort != was.Ports[0].NodePort {
				t.Errorf("%s: %s and %d, was %s and %d", when, is.ClusterIP, is.Ports[0].NodePort, was.ClusterIP, was.Ports[0].NodePort)
			}
		}
		edited := svc("web", nodePort, func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromInt32(9090) })
		plan := w.c.DryRun(manifests.Snapshot{Objects: []manifests.Object{edited, svc("other")}})
		if len(plan) != 1 || len(plan[0].Fields) != 1 || plan[0].Fields[0].Path != "spec.ports[0].targetPort" {
			t.Errorf("what was allocated is no difference: %v", plan)
		}
		w.write(edited, svc("other"))
		check("after an edit")
		w.restart()
		check("after a restart")
		w.dir = t.TempDir()
		w.restart()
		check("with a new state")
	})
}

// No pod hears of its end while the routed table sends connections to it, and no table is ever without the pods that a rollout counts on.
func TestNoSignalWhileRouted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		never := func(d *appsv1.Deployment) { d.Spec.Strategy.RollingUpdate.MaxUnavailable = new(intstr.FromInt32(0)) }
		w.write(web("web", "web:1", 3, never), svc("web"))
		w.settle()
		var broken []string
		w.fake.OnSignal(func(uid, _ string, _ int) {
			for _, p := range w.fake.Pods() {
				if p.UID != uid {
					continue
				}
				for _, s := range w.fake.Traffic().Services {
					for _, b := range s.Ports[0].Backends {
						if b.Addr().String() == p.Sandbox.IP {
							broken = append(broken, p.Name+" hears of its end while connections are sent to it")
						}
					}
					if n := len(s.Ports[0].Backends); n < 3 {
						broken = append(broken, fmt.Sprintf("%s hears of its end with %d pods in service", p.Name, n))
					}
				}
			}
		})
		w.write(web("web", "web:2", 3, never), svc("web"))
		w.settle()
		if len(broken) > 0 {
			t.Error(strings.Join(broken, "\n"))
		}
	})
}

// The last pods of a Service end at once: nobody takes their place, so nobody is to be waited for.
func TestScaleToZeroDoesNotWait(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3), svc("web"))
		w.settle()
		began := time.Now()
		w.write(web("web", "web:1", 0), svc("web"))
		w.settle()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// What was to end before a new controller's first table holds waits to hear what that says of it, and no longer.
func TestTheFirstTableWakesWhoWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3), svc("web"))
		w.settle()
		fails := func(runtime.Traffic) error { return errors.New("the proxy is being started") }
		w.fake.OnRoute(fails)
		w.write(web("web", "web:1", 1), svc("web"))
		w.fake = w.fake.Reopen()
		w.fake.OnRoute(fails)
		w.end()
		w.start()
		w.pass(500 * time.Millisecond)
		w.wantRunning(3)
		var held time.Time
		w.fake.OnRoute(func(runtime.Traffic) error {
			if held.IsZero() {
				held = time.Now()
			}
			return nil
		})
		w.settle()
		w.wantRunning(1)
		if took := time.Since(held); took > 500*time.Millisecond {
			t.Errorf("it took %s from the first table on", took)
		}
	})
}

// A router that fails does not keep pods from ending: they wait for it as long as they may.
func TestABrokenRouterDelaysNoEndForever(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2), svc("web"))
		w.settle()
		w.fake.OnRoute(func(runtime.Traffic) error { return errors.New("the proxy hangs") })
		began := time.Now()
		w.write(web("web", "web:1", 1), svc("web"))
		w.pass(20 * time.Second)
		w.wantRunning(1)
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("it took %s", took)
		}
		if s := w.settle(); len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Message, "the proxy hangs") {
			t.Errorf("problems: %+v", s.Problems)
		}
		w.fake.OnRoute(nil)
		w.pass(2 * time.Minute)
		w.settle()
		if got := w.backends("web"); !slices.Equal(got, w.running()) {
			t.Errorf("routed to %v, running %v", got, w.running())
		}
	})
}

// A new controller routes nothing until it knows what there is: what was routed stays.
func TestRestartRoutesNoLess(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 3), svc("web"))
		w.settle()
		w.fake.OnRoute(func(t runtime.Traffic) error {
			if len(t.Services) != 1 || len(t.Services[0].Ports[0].Backends) != 3 {
				w.t.Errorf("routed after the restart: %+v", t)
			}
			return nil
		})
		w.restart()
		w.settle()
	})
}

// A program that asks for a name at its very start is answered: no sandbox is made before the first table, and none waits for one that cannot be made.
func TestNoPodBeforeNamesAreAnswered(t *testing.T) {
	for name, broken := range map[string]error{"a router": nil, "a broken router": errors.New("the proxy hangs")} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.opts = func(o *Options) { o.Node.ClusterDNS = "10.43.0.10" }
				routed, early := false, 0
				w.fake.OnRoute(func(runtime.Traffic) error {
					if !routed {
						time.Sleep(time.Second) // the proxy starts
						early = len(w.fake.Pods())
					}
					routed = true
					return broken
				})
				w.start()
				w.write(web("web", "web:1", 3), svc("web"))
				w.pass(10 * time.Second)
				if n := len(w.running()); early > 0 || n != 3 {
					t.Errorf("%d sandboxes before the first table, %d pods in the end", early, n)
				}
			})
		})
	}
}

func TestHostPortIsSharedByAWorkload(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		port := func(d *appsv1.Deployment) {
			d.Spec.Strategy.RollingUpdate.MaxUnavailable = new(intstr.FromInt32(0))
			d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 80, Protocol: corev1.ProtocolTCP}}
		}
		w.write(web("web", "web:1", 1, port))
		w.settle()
		w.write(web("web", "web:2", 1, port), web("rival", "web:1", 1, port))
		s := w.settle()
		ports := w.fake.Traffic().Ports
		if len(ports) != 1 || ports[0].Owner != "Deployment/shop/web" || len(ports[0].Backends) != 1 || ports[0].Port != 80 {
			t.Errorf("ports: %+v", ports)
		}
		if len(s.Problems) != 1 || s.Problems[0].Object != "Deployment/shop/rival" || !strings.Contains(s.Problems[0].Message, "Deployment/shop/web") {
			t.Errorf("problems: %+v", s.Problems)
		}
	})
}

// What the router cannot do is an event on whom it concerns, and in the status until it is done.
func TestRouterProblemsAreTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.fake.SetRouteProblems(runtime.RouteProblem{Owner: "Service/shop/web", Reason: "PortInUse", Message: "port 22/tcp is in use"})
		w.write(svc("web"))
		if s := w.settle(); len(s.Problems) != 1 || s.Problems[0].Object != "Service/shop/web" {
			t.Errorf("problems: %+v", s.Problems)
		}
		found := slices.ContainsFunc(w.c.Events(0), func(e Event) bool { return e.Name == "Service/shop/web" && e.Reason == "PortInUse" })
		if !found {
			t.Errorf("no event: %v", w.c.Events(0))
		}
		w.fake.SetRouteProblems()
		w.pass(askAgain + time.Second)
		if s := w.settle(); len(s.Problems) != 0 {
			t.Errorf("problems: %+v", s.Problems)
		}
	})
}

// The objects that tell of a Service come with it, follow it and go with it. They are not in the journal: they are made of what is.
func TestServiceHasItsObjects(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(web("web", "web:1", 2), svc("web", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer }))
		w.settle()
		count := func() (n int) {
			for _, s := range all[*discoveryv1.EndpointSlice](w.c.store, reconcile.KindEndpointSlice) {
				n += len(s.Endpoints)
			}
			return n
		}
		if n := count(); n != 2 {
			t.Errorf("%d endpoints in slices", n)
		}
		if got := w.storedService(t, "web").Status.LoadBalancer.Ingress; len(got) != 1 {
			t.Errorf("reached at %v", got)
		}
		w.restart()
		w.settle()
		if n := count(); n != 2 {
			t.Errorf("%d endpoints in slices after a restart", n)
		}
		w.write(web("web", "web:1", 2))
		w.pass(DefaultPruneDelay)
		w.settle()
		if left := len(w.c.store.List(reconcile.KindEndpointSlice)) + len(w.c.store.List(reconcile.KindEndpoints)); left != 0 {
			t.Errorf("%d objects are left", left)
		}
	})
}

// An Ingress leads to the pods of its Service, its certificate follows the Secret, and its status says where it is reached.
func TestIngressFollowsServiceAndSecret(t *testing.T) {
	inWorld(t, func(w *world) {
		prefix := networkingv1.PathTypePrefix
		ing := &networkingv1.Ingress{
			TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
			Spec: networkingv1.IngressSpec{
				TLS: []networkingv1.IngressTLS{{Hosts: []string{"a.example.com"}, SecretName: "cert"}},
				Rules: []networkingv1.IngressRule{{IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
					Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{
						Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
					}}},
				}}}},
			},
		}
		stated := object(manifests.Key{Group: "networking.k8s.io", Kind: "Ingress", Namespace: "shop", Name: "web"}, ing)
		cert := func(text string) manifests.Object {
			return object(manifests.Key{Kind: "Secret", Namespace: "shop", Name: "cert"}, &corev1.Secret{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cert"},
				Data: map[string][]byte{"tls.crt": []byte(text), "tls.key": []byte("key")},
			})
		}
		w.start()
		w.write(web("web", "web:1", 2), svc("web"), stated)
		if s := w.settle(); len(s.Problems) != 1 || s.Problems[0].Reason != "SecretNotFound" {
			t.Errorf("without its secret: %+v", s.Problems)
		}
		for _, text := range []string{"one", "two"} {
			w.write(web("web", "web:1", 2), svc("web"), stated, cert(text))
			s := w.settle()
			got := w.fake.Traffic().Ingress
			if got == nil || len(got.Rules) != 1 || len(got.Rules[0].Backends) != 2 || len(got.Certificates) != 1 || string(got.Certificates[0].Cert) != text {
				t.Errorf("routed with %q: %+v", text, got)
			}
			if len(s.Problems) != 0 {
				t.Errorf("problems: %+v", s.Problems)
			}
		}
		i, _ := store.Get[*networkingv1.Ingress](w.c.store, reconcile.Key{Kind: "Ingress", Namespace: "shop", Name: "web"})
		if at := i.Status.LoadBalancer.Ingress; len(at) != 1 || at[0].IP != "192.0.2.1" {
			t.Errorf("reached at %+v", at)
		}
	})
}
