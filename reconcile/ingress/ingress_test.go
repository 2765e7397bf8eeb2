package ingress_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/reconcile/ingress"
	"berth/reconcile/service"
	"berth/runtime"
)

var born = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// ing is an Ingress with rules in words: "HOST PATH TYPE SERVICE:PORT".
func ing(name string, rules ...string) *networkingv1.Ingress {
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(born)}}
	for _, r := range rules {
		w := strings.Fields(r)
		kind := networkingv1.PathType(w[2])
		i.Spec.Rules = append(i.Spec.Rules, networkingv1.IngressRule{
			Host: strings.Trim(w[0], "-"),
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: w[1], PathType: &kind, Backend: *to(w[3])}},
			}},
		})
	}
	return i
}

func to(target string) *networkingv1.IngressBackend {
	name, port, _ := strings.Cut(target, ":")
	b := &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Name: port}}
	if _, err := fmt.Sscan(port, &b.Port.Number); err == nil {
		b.Port.Name = ""
	}
	return &networkingv1.IngressBackend{Service: b}
}

func with(i *networkingv1.Ingress, change func(*networkingv1.Ingress)) *networkingv1.Ingress {
	change(i)
	return i
}

func input(list ...*networkingv1.Ingress) ingress.Input {
	key := func(kind, name string) reconcile.Key { return reconcile.Key{Kind: kind, Namespace: "shop", Name: name} }
	ports := []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "admin", Port: 81}}
	served := []service.Port{{Name: "http", Protocol: corev1.ProtocolTCP, Number: 8080}, {Name: "admin", Protocol: corev1.ProtocolTCP, Number: 8081}}
	return ingress.Input{
		Ingresses: list, HTTP: 80, HTTPS: 443,
		Services: map[reconcile.Key]*corev1.Service{
			key("Service", "web"): {Spec: corev1.ServiceSpec{Ports: ports}},
			key("Service", "far"): {ObjectMeta: metav1.ObjectMeta{Name: "far"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}},
		},
		Secrets: map[reconcile.Key]*corev1.Secret{
			key("Secret", "cert"):  {Data: map[string][]byte{"tls.crt": []byte("CERT"), "tls.key": []byte("KEY")}},
			key("Secret", "empty"): {},
		},
		Table: &service.Table{Endpoints: map[reconcile.Key][]service.Endpoint{
			key("Service", "web"): {{Address: netip.MustParseAddr("10.42.0.1"), Ports: served, Ready: true, Serving: true}},
		}},
	}
}

func lines(i *runtime.Ingress, problems []runtime.RouteProblem) []string {
	var out []string
	if i != nil {
		out = append(out, fmt.Sprintf("ports %d %d", i.HTTP, i.HTTPS))
		for _, r := range i.Rules {
			line := fmt.Sprintf("%s%s exact=%t → %v", r.Host, r.Path, r.Exact, r.Backends)
			if r.RedirectToHTTPS {
				line += " redirect"
			}
			if r.Protocol != runtime.BackendHTTP {
				line += " " + string(r.Protocol)
			}
			out = append(out, line)
		}
		for _, c := range i.Certificates {
			out = append(out, fmt.Sprintf("%s for %v", c.Cert, c.Hosts))
		}
	}
	for _, p := range problems {
		out = append(out, p.Owner+": "+p.Reason+": "+p.Message)
	}
	return out
}

func TestIngressRules(t *testing.T) {
	class := func(name, controller string, isDefault bool) *networkingv1.IngressClass {
		c := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
		if isDefault {
			c.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
		}
		return c
	}
	named := func(i *networkingv1.Ingress) { i.Spec.IngressClassName = new("nginx") }
	tls := func(secret string) func(*networkingv1.Ingress) {
		return func(i *networkingv1.Ingress) {
			i.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"A.example.com"}, SecretName: secret}}
		}
	}
	one := []string{"ports 80 0", "a.example.com/ exact=false → [10.42.0.1:8080]"}
	simple := func() *networkingv1.Ingress { return ing("web", "a.example.com / Prefix web:80") }
	tests := map[string]struct {
		in   ingress.Input
		want []string
	}{
		"nothing": {input(), nil},
		"one":     {input(simple()), one},
		"the most exact first": {
			input(ing("web", "- / Prefix web:80", "*.example.com / Prefix web:80", "*.b.example.com / Prefix web:80", "a.example.com / Prefix web:80",
				"a.example.com /api/v1/ Prefix web:admin", "a.example.com /api Exact web:81", "a.example.com /api Prefix web:80"),
				with(ing("other"), func(i *networkingv1.Ingress) { i.Spec.DefaultBackend = to("web:81") })),
			[]string{
				"ports 80 0", "a.example.com/api exact=true → [10.42.0.1:8081]", "a.example.com/api/v1 exact=false → [10.42.0.1:8081]",
				"a.example.com/api exact=false → [10.42.0.1:8080]", "a.example.com/ exact=false → [10.42.0.1:8080]",
				"*.b.example.com/ exact=false → [10.42.0.1:8080]", "*.example.com/ exact=false → [10.42.0.1:8080]",
				"/ exact=false → [10.42.0.1:8080]", "/ exact=false → [10.42.0.1:8081]",
			},
		},
		"what is left to the implementation is a prefix, or nothing": {
			input(ing("web", "- /app/* ImplementationSpecific web:80", "- /x(/|$)(.*) ImplementationSpecific web:80")),
			[]string{
				"ports 80 0", "/app exact=false → [10.42.0.1:8080]",
				`Ingress/shop/web: UnsupportedPath: path "/x(/|$)(.*)" is a pattern of another controller: give it pathType Prefix or Exact`,
			},
		},
		"certificates": {
			input(with(with(simple(), tls("cert")), func(i *networkingv1.Ingress) { i.Annotations = map[string]string{ingress.AnnotationRedirect: "true"} })),
			[]string{"ports 80 443", one[1] + " redirect", "CERT for [a.example.com]"},
		},
		"TLS without a certificate of one's own": {input(with(simple(), tls(""))), append([]string{"ports 80 443"}, one[1:]...)},
		"no certificate": {
			input(with(simple(), tls("none"))),
			append([]string{}, append(one, `Ingress/shop/web: SecretNotFound: secret "none" does not exist: its hosts have no certificate`)...),
		},
		"a certificate that is ordered": {
			func() ingress.Input {
				in := input(with(simple(), tls("none")))
				in.Absent = map[reconcile.Key]ingress.Absence{{Kind: "Secret", Namespace: "shop", Name: "none"}: {Reason: "CertificatePending", Message: "soon", Asked: true}}
				return in
			}(),
			[]string{"ports 80 443", one[1], "Ingress/shop/web: CertificatePending: soon"},
		},
		"a certificate that cannot be ordered": {
			func() ingress.Input {
				in := input(with(simple(), tls("none")))
				in.Absent = map[reconcile.Key]ingress.Absence{{Kind: "Secret", Namespace: "shop", Name: "none"}: {Reason: "CertificateRefused", Message: "never"}}
				return in
			}(),
			append([]string{}, append(one, "Ingress/shop/web: CertificateRefused: never")...),
		},
		"an empty certificate": {
			input(with(simple(), tls("empty"))),
			append([]string{}, append(one, `Ingress/shop/web: SecretNotFound: secret "empty" has no tls.crt and tls.key`)...),
		},
		"no service, no port, no pods": {
			input(ing("web", "- /a Prefix none:80", "- /b Prefix web:nope", "- /c Prefix far:80")),
			[]string{
				"ports 80 0", "/a exact=false → []", "/b exact=false → []", "/c exact=false → []",
				`Ingress/shop/web: ServiceNotFound: service "none" does not exist`, `Ingress/shop/web: ServiceNotFound: service "web" has no port nope`,
				`Ingress/shop/web: UnsupportedBackend: service "far" is the name example.org (ExternalName): an Ingress follows names of Services here, and no others`,
			},
		},
		"another name of a Service": {
			func() ingress.Input {
				in := input(ing("web", "- /a Prefix near:80", "- /b Prefix near:admin", "- /c Prefix next:8080", "- /d Prefix near:1", "- /e Prefix gone:80", "- /f Prefix round:80", "- /g Prefix near:none"))
				name := func(at string, to string, ports ...corev1.ServicePort) {
					in.Services[reconcile.Key{Kind: "Service", Namespace: "shop", Name: at}] = &corev1.Service{
						ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: at}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: to, Ports: ports},
					}
				}
				name("near", "API.back.svc.cluster.local.", corev1.ServicePort{Name: "admin", Port: 9, TargetPort: intstr.FromInt32(81), AppProtocol: new("h2c")})
				name("next", "after.shop.svc")
				name("after", "pods.back.svc.cluster.local")
				name("gone", "none.back.svc.cluster.local")
				name("round", "round.shop.svc.cluster.local")
				for at, ip := range map[string]string{"api": "10.43.0.1", "pods": corev1.ClusterIPNone} {
					key := reconcile.Key{Kind: "Service", Namespace: "back", Name: at}
					in.Services[key] = &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "admin", Port: 81}}}}
					in.Table.Endpoints[key] = in.Table.Endpoints[reconcile.Key{Kind: "Service", Namespace: "shop", Name: "web"}]
				}
				return in
			}(),
			[]string{
				"ports 80 0", "/a exact=false → [10.42.0.1:8080]", "/b exact=false → [10.42.0.1:8081] h2c", "/c exact=false → [10.42.0.1:8080]",
				"/d exact=false → []", "/e exact=false → []", "/f exact=false → []", "/g exact=false → []",
				`Ingress/shop/web: ServiceNotFound: service "near" is another name of back/api, which has no port 1`,
				`Ingress/shop/web: ServiceNotFound: service "gone" is another name of back/none, which does not exist`,
				`Ingress/shop/web: UnsupportedBackend: service "round" is the name round.shop.svc.cluster.local (ExternalName): it leads from name to name and to no pods`,
				`Ingress/shop/web: ServiceNotFound: service "near" has no port none`,
			},
		},
		"a class that nobody else has": {input(with(simple(), named)), one},
		"a class of another": {
			func() ingress.Input {
				in := input(with(simple(), named))
				in.Classes = []*networkingv1.IngressClass{class("nginx", "k8s.io/ingress-nginx", false)}
				return in
			}(), nil,
		},
		"another's by default": {
			func() ingress.Input {
				in := input(simple())
				in.Classes = []*networkingv1.IngressClass{class("nginx", "k8s.io/ingress-nginx", true)}
				return in
			}(), nil,
		},
		"our own class": {
			func() ingress.Input {
				in := input(with(simple(), named))
				in.Classes = []*networkingv1.IngressClass{class("nginx", ingress.Controller, false)}
				return in
			}(), one,
		},
		"a port that is somebody's": {
			func() ingress.Input {
				in := input(simple())
				in.Table.Traffic.Ports = []runtime.PublishedPort{{Protocol: runtime.TCP, Port: 80, Owner: "Service/nginx/nginx"}}
				return in
			}(),
			[]string{
				"ports 0 0", one[1],
				"Ingress/shop/web: PortUnavailable: port 80/tcp of this machine is that of Service/nginx/nginx: nothing is served there by this Ingress",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, lines(ingress.Rules(tt.in))); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	i := ing("web")
	p := ingress.Plan(i, true, "192.0.2.1")
	if len(p.Actions) != 1 {
		t.Fatalf("plan: %v", p.Actions)
	}
	told := p.Actions[0].(reconcile.UpdateStatus).Object.(*networkingv1.Ingress)
	if told.Status.LoadBalancer.Ingress[0].IP != "192.0.2.1" || len(i.Status.LoadBalancer.Ingress) != 0 {
		t.Errorf("told: %+v, was %+v", told.Status, i.Status)
	}
	if p := ingress.Plan(told, true, "192.0.2.1"); len(p.Actions) != 0 {
		t.Errorf("again: %v", p.Actions)
	}
	if p := ingress.Plan(told, false, "192.0.2.1"); len(p.Actions) != 1 {
		t.Errorf("not reached any more: %v", p.Actions)
	}
}
