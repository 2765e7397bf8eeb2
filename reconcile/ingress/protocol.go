package ingress

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"berth/runtime"
)

// Where others than Kubernetes have what backends speak: those who write an Ingress for nginx, and a Service for traefik.
const (
	annotationNginx   = "nginx.ingress.kubernetes.io/backend-protocol"
	annotationTraefik = "traefik.ingress.kubernetes.io/service.serversscheme"
)

// protocols has every word for what backends speak, in lower case: those of appProtocol (KEP-3726 and RFC 6335), of nginx and of traefik.
var protocols = map[string]runtime.BackendProtocol{
	"http": runtime.BackendHTTP, "auto_http": runtime.BackendHTTP, "kubernetes.io/ws": runtime.BackendHTTP,
	"kubernetes.io/h2c": runtime.BackendH2C, "h2c": runtime.BackendH2C, "grpc": runtime.BackendH2C,
	"https": runtime.BackendHTTPS, "grpcs": runtime.BackendHTTPS, "kubernetes.io/wss": runtime.BackendHTTPS,
}

// protocol is what the pods behind a port speak, as the Ingress says, or else the Service, or else its port. What appProtocol has beside our words is
// for others to read.
func (b *builder) protocol(ing *networkingv1.Ingress, owner string, svc *corev1.Service, port *corev1.ServicePort) runtime.BackendProtocol {
	if word := cmp.Or(ing.Annotations[annotationNginx], svc.Annotations[annotationTraefik]); word != "" {
		p, ok := protocols[strings.ToLower(word)]
		if !ok {
			b.problem(owner, ReasonBackend, "nobody here speaks %q to a backend: HTTP, HTTPS, GRPC and GRPCS are spoken", word)
		}
		return p
	}
	if port.AppProtocol == nil {
		return runtime.BackendHTTP
	}
	return protocols[strings.ToLower(*port.AppProtocol)]
}
