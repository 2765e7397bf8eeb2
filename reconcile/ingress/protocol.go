package ingress

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"berth/runtime"
)

// protocols has the words of appProtocol for what is not HTTP/1.1: those of Kubernetes (KEP-3726) and, as the field may have them, registered ones (RFC 6335).
var protocols = map[string]runtime.BackendProtocol{
	"kubernetes.io/h2c": runtime.BackendH2C, "h2c": runtime.BackendH2C, "grpc": runtime.BackendH2C,
	"https": runtime.BackendHTTPS, "kubernetes.io/wss": runtime.BackendHTTPS,
}

// protocol is what the pods behind a port speak. What appProtocol has beside our words is for others to read.
func protocol(port *corev1.ServicePort) runtime.BackendProtocol {
	if port.AppProtocol == nil {
		return runtime.BackendHTTP
	}
	return protocols[strings.ToLower(*port.AppProtocol)]
}
