package pod

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// addresses are one of IPv4 and one of IPv6; "" where there is none, of the second where there is none of the first.
type addresses [2]string

// list is the ones there are.
func (a *addresses) list() []string {
	n := 0
	for n < len(a) && a[n] != "" {
		n++
	}
	return a[:n]
}

// as is the first, or all, as variables of a container name them.
func (a *addresses) as(all bool) string {
	if all {
		return strings.Join(a.list(), ",")
	}
	return a[0]
}

// hostAddresses are the machine's.
func (p *pass) hostAddresses() addresses { return addresses{p.in.Node.HostIP, p.in.Node.HostIP6} }

// podAddresses are the Pod's own, the machine's for a Pod in its network; none while there are none. One that has ended goes on showing the last it had.
func (p *pass) podAddresses() addresses {
	o := p.in.Observed
	switch {
	case p.pod.Spec.HostNetwork:
		return p.hostAddresses()
	case o == nil || !p.ready && p.verdict.phase == "":
		return addresses{}
	}
	first, second := o.Sandbox.IP, o.Sandbox.Address6
	if !p.ready {
		first, second = cmp.Or(first, o.Sandbox.FormerIP), cmp.Or(second, o.Sandbox.FormerAddress6)
	}
	if !second.IsValid() {
		return addresses{first}
	}
	return addresses{first, second.String()}
}

// setAddresses makes a status say where the Pod and its machine are. What it says of a Pod that has lost its address stays.
func (p *pass) setAddresses(s *corev1.PodStatus) {
	host, own := p.hostAddresses(), p.podAddresses()
	if is := host.list(); s.HostIP != host[0] || !slices.EqualFunc(s.HostIPs, is, func(a corev1.HostIP, b string) bool { return a.IP == b }) {
		s.HostIP, s.HostIPs = host[0], nil
		for _, ip := range is {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	if is := own.list(); len(is) > 0 && (s.PodIP != own[0] || !slices.EqualFunc(s.PodIPs, is, func(a corev1.PodIP, b string) bool { return a.IP == b })) {
		s.PodIP, s.PodIPs = own[0], nil
		for _, ip := range is {
			s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
		}
	}
}
