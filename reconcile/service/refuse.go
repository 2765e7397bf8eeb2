package service

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"berth/reconcile"
)

// Refuse tells what a Service newly states and cannot have, in the words of Kubernetes' API, which refuses it where a file's Service waits. services are
// those there are; what the one of wish's name has already is not asked for.
func Refuse(wish *corev1.Service, services []*corev1.Service, ranges Ranges) field.ErrorList {
	old := &corev1.Service{}
	var before *corev1.Service
	for _, svc := range services {
		if svc.Namespace == wish.Namespace && svc.Name == wish.Name {
			old, before = svc, svc
		}
	}
	n := wish.DeepCopy()
	if before != nil && addressed(n) && addressed(old) {
		patch(n, old)
	}
	errs := ranges.settle(n, before)
	if len(errs) > 0 {
		return errs
	}
	c := judge(services, ranges)
	spec, key := field.NewPath("spec"), reconcile.KeyOf(wish)
	if addressed(n) {
		for _, text := range clusterIPs(n) {
			if why := c.refused(text, key); why != "" && !slices.Contains(clusterIPs(old), text) {
				errs = append(errs, field.Invalid(spec.Child("clusterIPs"), n.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", text, why)))
			}
		}
	}
	had := map[nodePort]bool{}
	for i := range old.Spec.Ports {
		had[nodePort{known(old.Spec.Ports[i].Protocol), old.Spec.Ports[i].NodePort}] = true
	}
	for i := range wish.Spec.Ports {
		p := &wish.Spec.Ports[i]
		n := nodePort{known(p.Protocol), p.NodePort}
		if p.NodePort == 0 || !onNode(wish) || had[n] {
			continue
		}
		at := spec.Child("ports").Index(i).Child("nodePort")
		switch holder, taken := c.nodePorts[n]; {
		case p.NodePort < firstNodePort || p.NodePort > lastNodePort:
			errs = append(errs, field.Invalid(at, p.NodePort, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", firstNodePort, lastNodePort)))
		case taken && holder != key:
			errs = append(errs, field.Invalid(at, p.NodePort, "provided port is already allocated"))
		}
	}
	return errs
}

// patch fills in what a client did not repeat.
func patch(n, old *corev1.Service) {
	if n.Spec.ClusterIP == "" {
		n.Spec.ClusterIP = old.Spec.ClusterIP
	}
	if len(n.Spec.ClusterIPs) == 0 && n.Spec.ClusterIP == old.Spec.ClusterIP {
		n.Spec.ClusterIPs = slices.Clone(clusterIPs(old))
	}
}

// refused is why a Service cannot have an address, "" when it can.
func (c *claims) refused(text string, key reconcile.Key) string {
	addr, err := netip.ParseAddr(text)
	switch holder, taken := c.holders[addr]; {
	case err != nil, !c.ranges.has(familyOf(addr)), c.outside(addr):
		return "the provided network does not match the current range"
	case c.kept(addr), taken && holder != key:
		return "provided IP is already allocated"
	}
	return ""
}
