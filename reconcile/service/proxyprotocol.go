package service

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// annotationsProxyProtocol ask that a load balancer tells the pods whom it forwards, by the PROXY protocol: berth's own word, and those of providers, so
// that pods that wait for it get it here as well.
var annotationsProxyProtocol = []string{
	"berth.dev/proxy-protocol",
	"service.beta.kubernetes.io/aws-load-balancer-proxy-protocol",
	"service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol",
	"service.beta.kubernetes.io/linode-loadbalancer-proxy-protocol",
	"service.beta.kubernetes.io/ovh-loadbalancer-proxy-protocol",
	"service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v1",
	"service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v2",
	"service.beta.kubernetes.io/vultr-loadbalancer-proxy-protocol",
	"load-balancer.hetzner.cloud/uses-proxyprotocol",
	"loadbalancer.openstack.org/proxy-protocol",
	"kubernetes.civo.com/loadbalancer-enable-proxy-protocol",
}

// proxyProtocol is the version that a Service asks for, 0 for none. Where it leaves that open it is 2, which all who understand the first do.
func proxyProtocol(svc *corev1.Service) int {
	for _, name := range annotationsProxyProtocol {
		value := strings.ToLower(strings.TrimSpace(svc.Annotations[name]))
		switch {
		case value == "" || value == "false" || value == "off" || value == "none":
			continue
		case value == "v1" || value == "send-proxy" || strings.HasSuffix(name, "-v1"):
			return 1
		}
		return 2
	}
	return 0
}
