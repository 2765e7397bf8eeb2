package ingress

import (
	"cmp"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"berth/reconcile"
	"berth/reconcile/service"
	"berth/runtime"
)

// longestChain is how many names may lead to one another: more are a circle.
const longestChain = 8

// named are the pods behind a Service of type ExternalName, where its name is that of another Service here: so an Ingress reaches another namespace.
func (b *builder) named(owner string, svc *corev1.Service, want networkingv1.ServiceBackendPort) ([]netip.AddrPort, runtime.BackendProtocol) {
	number, speak := want.Number, runtime.BackendHTTP
	if p := portOf(svc, want); p != nil {
		number, speak = cmp.Or(p.TargetPort.IntVal, p.Port), protocol(p)
	}
	key, target, refusal := b.follow(svc)
	switch {
	case number == 0:
		b.problem(owner, ReasonService, "service %q has no port %s", svc.Name, want.Name)
		return nil, ""
	case refusal != "":
		b.problem(owner, ReasonBackend, "service %q is the name %s (ExternalName): %s", svc.Name, svc.Spec.ExternalName, refusal)
		return nil, ""
	case target == nil:
		b.problem(owner, ReasonService, "service %q is another name of %s/%s, which does not exist", svc.Name, key.Namespace, key.Name)
		return nil, ""
	}
	endpoints := service.OnePerPod(b.in.Table.Endpoints[key])
	if target.Spec.ClusterIP == corev1.ClusterIPNone { // its name leads to the pods themselves, whatever ports it states
		return direct(endpoints, uint16(number)), speak
	}
	p := portOf(target, networkingv1.ServiceBackendPort{Number: number})
	if p == nil {
		b.problem(owner, ReasonService, "service %q is another name of %s/%s, which has no port %d", svc.Name, key.Namespace, key.Name, number)
		return nil, ""
	}
	return service.Backends(endpoints, p.Name, cmp.Or(p.Protocol, corev1.ProtocolTCP)), cmp.Or(speak, protocol(p))
}

// follow finds the Service that a name means, nil for one that is not there. Names of the world are refused: an Ingress has no field for what such a server must
// be told (its own host name, and whose certificate it has to show), and whoever owns the name could point it into this machine's network, for everybody outside.
func (b *builder) follow(svc *corev1.Service) (key reconcile.Key, target *corev1.Service, refusal string) {
	target = svc
	for range longestChain {
		var ok bool
		if key, ok = serviceNamed(target.Spec.ExternalName); !ok {
			return key, nil, "an Ingress follows names of Services here, and no others"
		}
		if target = b.in.Services[key]; target == nil || target.Spec.Type != corev1.ServiceTypeExternalName {
			return key, target, ""
		}
	}
	return key, nil, "it leads from name to name and to no pods"
}

// direct are the ready endpoints, at one port.
func direct(list []service.Endpoint, port uint16) []netip.AddrPort {
	var out []netip.AddrPort
	for i := range list {
		if list[i].Ready {
			out = append(out, netip.AddrPortFrom(list[i].Address, port))
		}
	}
	return out
}

// serviceNamed is the Service that has a name of this cluster, NAME.NAMESPACE.svc with or without the domain; false for any other name.
func serviceNamed(name string) (reconcile.Key, bool) {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	words := strings.Split(strings.TrimSuffix(name, ".cluster.local"), ".")
	if len(words) != 3 || words[2] != "svc" {
		return reconcile.Key{}, false
	}
	return reconcile.Key{Kind: reconcile.KindService, Namespace: words[1], Name: words[0]}, true
}
