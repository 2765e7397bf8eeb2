// Package ingress decides what the HTTP ports of the machine do: it turns Ingresses, with the Services and Secrets they name, into one list of
// rules, of which the first that matches a request is taken.
//
// On one machine there is one who serves Ingresses, so all are served whatever class they name: manifests that were written for nginx run as they
// are. Who brings a controller of his own says so with an IngressClass, and what is of that class is left to it. What is asked for in annotations
// of other controllers is not done.
package ingress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"berth/reconcile"
	"berth/reconcile/service"
	"berth/runtime"
)

// Controller is what an IngressClass names that means berth itself.
const Controller = reconcile.AnnotationPrefix + "ingress"

// AnnotationRedirect is "true" on an Ingress whose hosts answer plain requests with their address under HTTPS.
const AnnotationRedirect = reconcile.AnnotationPrefix + "redirect-to-https"

// annotationClass is the old word for spec.ingressClassName.
const annotationClass = "kubernetes.io/ingress.class"

// Reasons of problems, as events show them.
const (
	ReasonBackend = "UnsupportedBackend"
	ReasonService = "ServiceNotFound"
	ReasonSecret  = "SecretNotFound"
	ReasonPath    = "UnsupportedPath"
	ReasonPort    = "PortUnavailable"
)

// Input is what the rules are made of. Nothing in it is changed.
type Input struct {
	Ingresses []*networkingv1.Ingress
	Classes   []*networkingv1.IngressClass
	// Services and Secrets are those that exist, by their keys.
	Services map[reconcile.Key]*corev1.Service
	Secrets  map[reconcile.Key]*corev1.Secret
	// Absent says of Secrets that an authority is to fill, and that do not exist yet, why not.
	Absent map[reconcile.Key]Absence
	// Table says who stands behind the Services, and which ports of the machine are somebody's.
	Table *service.Table
	// HTTP and HTTPS are the ports to listen on.
	HTTP, HTTPS uint16
}

// Absence is why there is no certificate yet, as problems have it.
type Absence struct {
	Reason, Message string
	// Asked tells that an authority is asked, and so looks at the port of HTTPS, too.
	Asked bool
}

// Rules are what the HTTP ports do, nil for nothing, and what cannot be done.
func Rules(in Input) (*runtime.Ingress, []runtime.RouteProblem) {
	b := builder{in: in}
	list := slices.Clone(in.Ingresses)
	slices.SortFunc(list, func(x, y *networkingv1.Ingress) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	for _, ing := range list {
		if Served(ing, in.Classes) {
			b.ingress(ing)
		}
	}
	if len(b.rules) == 0 {
		return nil, b.problems
	}
	slices.SortStableFunc(b.rules, func(x, y rule) int { return x.compare(&y) })
	for i := range b.rules {
		b.out.Rules = append(b.out.Rules, b.rules[i].IngressRule)
	}
	b.out.HTTP = b.free(in.HTTP)
	if len(b.out.Certificates) > 0 || b.secure {
		b.out.HTTPS = b.free(in.HTTPS)
	}
	return &b.out, b.problems
}

// Served tells whether an Ingress is berth's to serve: it is, unless its class is that of another controller.
func Served(ing *networkingv1.Ingress, classes []*networkingv1.IngressClass) bool {
	name := ing.Annotations[annotationClass]
	if ing.Spec.IngressClassName != nil {
		name = *ing.Spec.IngressClassName
	}
	for _, c := range classes {
		if c.Name == name || name == "" && c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
			return c.Spec.Controller == Controller
		}
	}
	return true
}

// Plan keeps the status of an Ingress: it is reached at the machine, unless it is another's or something of it cannot be done.
func Plan(ing *networkingv1.Ingress, reached bool, hostIP string) reconcile.Plan {
	var want []networkingv1.IngressLoadBalancerIngress
	if reached && hostIP != "" {
		want = []networkingv1.IngressLoadBalancerIngress{{IP: hostIP}}
	}
	if apiequality.Semantic.DeepEqual(ing.Status.LoadBalancer.Ingress, want) {
		return reconcile.Plan{}
	}
	n := *ing
	n.Status.LoadBalancer = networkingv1.IngressLoadBalancerStatus{Ingress: want}
	return reconcile.Plan{Actions: []reconcile.Action{reconcile.UpdateStatus{Object: &n}}}
}

// Secrets are the keys of those that Ingresses name.
func Secrets(list []*networkingv1.Ingress) []reconcile.Key {
	var out []reconcile.Key
	for _, ing := range list {
		for i := range ing.Spec.TLS {
			if name := ing.Spec.TLS[i].SecretName; name != "" {
				out = append(out, reconcile.Key{Kind: reconcile.KindSecret, Namespace: ing.Namespace, Name: name})
			}
		}
	}
	return out
}

// builder makes one list of rules.
type builder struct {
	in       Input
	out      runtime.Ingress
	rules    []rule
	problems []runtime.RouteProblem
	served   []string // the owners, in the order of their age
	secure   bool     // the port of HTTPS is asked for without a certificate: an authority looks at it, or any will do
}

func (b *builder) problem(owner, reason, format string, args ...any) {
	b.problems = append(b.problems, runtime.RouteProblem{Owner: owner, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// free is a port, or 0 when somebody has stated it as his: who runs an Ingress controller of his own has it behind these ports.
func (b *builder) free(port uint16) uint16 {
	for i := range b.in.Table.Traffic.Ports {
		if p := &b.in.Table.Traffic.Ports[i]; p.Port == port && p.Protocol == runtime.TCP {
			for _, owner := range b.served {
				b.problem(owner, ReasonPort, "port %d/tcp of this machine is that of %s: nothing is served there by this Ingress", port, p.Owner)
			}
			return 0
		}
	}
	return port
}

func (b *builder) ingress(ing *networkingv1.Ingress) {
	owner := reconcile.KeyOf(ing).String()
	b.served = append(b.served, owner)
	redirect := ing.Annotations[AnnotationRedirect] == "true"
	add := func(host, path string, exact, last bool, backend *networkingv1.IngressBackend) {
		r := rule{last: last, IngressRule: runtime.IngressRule{Host: strings.ToLower(host), Path: path, Exact: exact, Owner: owner, RedirectToHTTPS: redirect}}
		var ok bool
		if r.Backends, r.Protocol, ok = b.backends(ing, owner, backend); ok {
			b.rules = append(b.rules, r)
		}
	}
	for i := range ing.Spec.Rules {
		r := &ing.Spec.Rules[i]
		if r.HTTP == nil {
			if ing.Spec.DefaultBackend != nil {
				add(r.Host, "/", false, false, ing.Spec.DefaultBackend)
			}
			continue
		}
		for j := range r.HTTP.Paths {
			p := &r.HTTP.Paths[j]
			path, exact, ok := pathOf(p)
			if !ok {
				b.problem(owner, ReasonPath, "path %q is a pattern of another controller: give it pathType Prefix or Exact", p.Path)
				continue
			}
			add(r.Host, path, exact, false, &p.Backend)
		}
	}
	if ing.Spec.DefaultBackend != nil {
		add("", "/", false, true, ing.Spec.DefaultBackend)
	}
	b.certificates(ing, owner)
}

// pathOf reads a path. What is left to the implementation is a prefix here; one that only an expression would match is not understood.
func pathOf(p *networkingv1.HTTPIngressPath) (path string, exact, ok bool) {
	path = cmp.Or(p.Path, "/")
	if p.PathType != nil && *p.PathType == networkingv1.PathTypeExact {
		return path, true, true
	}
	if p.PathType == nil || *p.PathType == networkingv1.PathTypeImplementationSpecific {
		path = strings.TrimSuffix(path, "*")
		if strings.ContainsAny(path, "*()[]|$^?\\") {
			return "", false, false
		}
	}
	if path != "/" {
		path = cmp.Or(strings.TrimRight(path, "/"), "/")
	}
	return path, false, true
}

// rule is one with its place.
type rule struct {
	runtime.IngressRule
	last bool // the default
}

// compare puts what is more exact first: whole hosts before wildcards before every host, whole paths before prefixes, long ones before short ones.
func (r *rule) compare(o *rule) int {
	return cmp.Or(
		before(!r.last, !o.last), cmp.Compare(hostRank(r.Host), hostRank(o.Host)), cmp.Compare(len(o.Host), len(r.Host)), cmp.Compare(r.Host, o.Host),
		before(r.Exact, o.Exact), cmp.Compare(len(o.Path), len(r.Path)), cmp.Compare(r.Path, o.Path),
	)
}

func before(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func hostRank(host string) int {
	switch {
	case host == "":
		return 2
	case strings.HasPrefix(host, "*."):
		return 1
	}
	return 0
}
