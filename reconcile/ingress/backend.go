package ingress

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"berth/reconcile"
	"berth/reconcile/service"
	"berth/runtime"
)

// backends are the pods behind a backend, and what they speak. A Service that is not there makes a rule that answers 503, and no other rule takes its place; false
// means that there can be no rule.
func (b *builder) backends(ing *networkingv1.Ingress, owner string, backend *networkingv1.IngressBackend) (pods []netip.AddrPort, speak runtime.BackendProtocol, ok bool) {
	if backend.Service == nil {
		b.problem(owner, ReasonBackend, "a backend that is no Service cannot be served")
		return nil, "", false
	}
	key := reconcile.Key{Kind: reconcile.KindService, Namespace: ing.Namespace, Name: backend.Service.Name}
	svc := b.in.Services[key]
	switch {
	case svc == nil:
		b.problem(owner, ReasonService, "service %q does not exist", key.Name)
		return nil, "", true
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		pods, speak = b.named(owner, svc, backend.Service.Port)
		return pods, speak, true
	}
	if p := portOf(svc, backend.Service.Port); p != nil {
		return service.Backends(service.OnePerPod(b.in.Table.Endpoints[key]), p.Name, cmp.Or(p.Protocol, corev1.ProtocolTCP)), protocol(p), true
	}
	b.problem(owner, ReasonService, "service %q has no port %s", key.Name, cmp.Or(backend.Service.Port.Name, strconv.Itoa(int(backend.Service.Port.Number))))
	return nil, "", true
}

// portOf is a Service's port that a backend means, nil for none.
func portOf(svc *corev1.Service, want networkingv1.ServiceBackendPort) *corev1.ServicePort {
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.Protocol != corev1.ProtocolUDP && (want.Name != "" && p.Name == want.Name || want.Name == "" && p.Port == want.Number) {
			return p
		}
	}
	return nil
}

// certificates are those that an Ingress names, each once.
func (b *builder) certificates(ing *networkingv1.Ingress, owner string) {
	for i := range ing.Spec.TLS {
		tls := &ing.Spec.TLS[i]
		if tls.SecretName == "" { // whatever is there for these hosts is shown, if only what we make ourselves
			b.secure = true
			continue
		}
		key := reconcile.Key{Kind: reconcile.KindSecret, Namespace: ing.Namespace, Name: tls.SecretName}
		secret := b.in.Secrets[key]
		if absence, ok := b.in.Absent[key]; ok && secret == nil {
			b.secure = b.secure || absence.Asked
			b.problem(owner, absence.Reason, "%s", absence.Message)
			continue
		}
		if secret == nil {
			b.problem(owner, ReasonSecret, "secret %q does not exist: its hosts have no certificate", tls.SecretName)
			continue
		}
		c := runtime.Certificate{Cert: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey], Owner: owner}
		if len(c.Cert) == 0 || len(c.Key) == 0 {
			b.problem(owner, ReasonSecret, "secret %q has no %s and %s", tls.SecretName, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
			continue
		}
		for _, h := range tls.Hosts {
			c.Hosts = append(c.Hosts, strings.ToLower(h))
		}
		b.out.Certificates = append(b.out.Certificates, c)
	}
}
