package pod

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// links are variables that tell of the Services of the namespace, as a kubelet makes them: those with an address of their own that are there when a
// container starts. They are no part of what the Pod is: a Service that comes later restarts nobody.
func (p *pass) links(e *environment) {
	if on := p.pod.Spec.EnableServiceLinks; on != nil && !*on {
		return
	}
	for _, svc := range p.in.Services {
		addr, err := netip.ParseAddr(svc.Spec.ClusterIP)
		if err != nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		word := strings.ToUpper(strings.ReplaceAll(svc.Name, "-", "_"))
		e.set(word+"_SERVICE_HOST", svc.Spec.ClusterIP)
		for i := range svc.Spec.Ports {
			e.linkPort(word, addr, &svc.Spec.Ports[i], i == 0)
		}
	}
}

// linkPort sets the variables of one port: Kubernetes' own, and those of Docker's links.
func (e *environment) linkPort(word string, addr netip.Addr, port *corev1.ServicePort, first bool) {
	protocol := string(port.Protocol)
	if protocol == "" {
		protocol = string(corev1.ProtocolTCP)
	}
	lower, number := strings.ToLower(protocol), strconv.Itoa(int(port.Port))
	url := lower + "://" + netip.AddrPortFrom(addr, uint16(port.Port)).String()
	if first {
		e.set(word+"_SERVICE_PORT", number)
		e.set(word+"_PORT", url)
	}
	if port.Name != "" {
		e.set(word+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(port.Name, "-", "_")), number)
	}
	prefix := fmt.Sprintf("%s_PORT_%s_%s", word, number, protocol)
	e.set(prefix, url)
	e.set(prefix+"_PROTO", lower)
	e.set(prefix+"_PORT", number)
	e.set(prefix+"_ADDR", addr.String())
}
