package service

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"berth/reconcile"
)

// Ranges are those of the Services' own addresses. A Service that says nothing is of IPv4; on a machine with a range of IPv6 it may be of either
// family, or of both.
type Ranges struct {
	// IPv4 is the zero value where every stated address is taken and none is given.
	IPv4 netip.Prefix
	// IPv6 is the zero value for a machine of one family.
	IPv6 netip.Prefix
}

func (r Ranges) of(f corev1.IPFamily) netip.Prefix {
	if f == corev1.IPv6Protocol {
		return r.IPv6
	}
	return r.IPv4
}

// dual tells that the machine has both families.
func (r Ranges) dual() bool { return r.IPv6.IsValid() }

func (r Ranges) has(f corev1.IPFamily) bool { return f == corev1.IPv4Protocol || r.dual() }

// parse reads an address that others may be sent to.
func parse(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	a = a.Unmap()
	return a, err == nil && a.Zone() == "" && !special(a)
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func otherThan(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv6Protocol {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// familiesOf are those of a Service, also of one that nobody has settled yet.
func familiesOf(svc *corev1.Service) []corev1.IPFamily {
	if len(svc.Spec.IPFamilies) > 0 {
		return svc.Spec.IPFamilies
	}
	if a, ok := parse(svc.Spec.ClusterIP); ok {
		return []corev1.IPFamily{familyOf(a)}
	}
	return []corev1.IPFamily{corev1.IPv4Protocol}
}

// clusterIPs are what a Service says of its own addresses, "None" as well; the older field is as good as the newer.
func clusterIPs(svc *corev1.Service) []string {
	if len(svc.Spec.ClusterIPs) == 0 && svc.Spec.ClusterIP != "" {
		return []string{svc.Spec.ClusterIP}
	}
	return svc.Spec.ClusterIPs
}

// bare tells of a headless Service whose endpoints somebody else states: of which families they are is not the machine's matter.
func bare(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP == corev1.ClusterIPNone && len(svc.Spec.Selector) == 0
}

// settle decides of which families a Service is, by the rules of Kubernetes' API for one that is made, or changed from old. n is nobody's yet, and is
// changed; what it cannot be is in the result.
func (r Ranges) settle(n, old *corev1.Service) field.ErrorList {
	if n.Spec.Type == corev1.ServiceTypeExternalName || stillPrefers(n, old) {
		return nil
	}
	n.Spec.ClusterIPs = clusterIPs(n)
	if n.Spec.IPFamilyPolicy == nil {
		n.Spec.IPFamilyPolicy = new(policyOf(n, old))
	}
	var errs field.ErrorList
	if old != nil {
		errs = release(n, old)
	}
	errs = append(errs, single(n)...)
	if errs = append(errs, r.infer(n)...); len(errs) > 0 {
		return errs
	}
	if !bare(n) {
		if errs := r.lacking(n); len(errs) > 0 {
			return errs
		}
	}
	f := &n.Spec.IPFamilies
	if len(*f) == 0 {
		*f = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if len(*f) == 1 && *n.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && (r.dual() || bare(n)) {
		*f = append(slices.Clone(*f), otherThan((*f)[0]))
	}
	return nil
}

// stillPrefers tells of a Service that preferred two families before and has not changed: it goes on with those it was given, also when the machine has
// come to have more or fewer since.
func stillPrefers(n, old *corev1.Service) bool {
	prefers := func(svc *corev1.Service) bool {
		return svc.Spec.IPFamilyPolicy != nil && *svc.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack
	}
	return old != nil && prefers(n) && prefers(old) && n.Spec.Type == old.Spec.Type && len(n.Spec.IPFamilies) > 0 &&
		slices.Equal(clusterIPs(n), clusterIPs(old)) && slices.Equal(n.Spec.IPFamilies, old.Spec.IPFamilies)
}

// policyOf is that of a Service which states none.
func policyOf(n, old *corev1.Service) corev1.IPFamilyPolicy {
	switch {
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		return *old.Spec.IPFamilyPolicy
	case bare(n):
		return corev1.IPFamilyPolicyRequireDualStack
	}
	return corev1.IPFamilyPolicySingleStack
}

// release lets the second family and its address go where the policy says so, and nowhere else. The first stays for the Service's life.
func release(n, old *corev1.Service) field.ErrorList {
	is, was, had := &n.Spec, &old.Spec, clusterIPs(old)
	if *is.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		if len(is.ClusterIPs) > 1 && slices.Equal(is.ClusterIPs, had) {
			is.ClusterIPs = is.ClusterIPs[:1:1]
		}
		if len(is.IPFamilies) > 1 && slices.Equal(is.IPFamilies, was.IPFamilies) {
			is.IPFamilies = is.IPFamilies[:1:1]
		}
	}
	var errs field.ErrorList
	policy := field.NewPath("spec", "ipFamilyPolicy")
	if *is.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		if len(is.ClusterIPs) > 0 && len(is.ClusterIPs) < len(had) {
			errs = append(errs, field.Invalid(policy, *is.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
		}
		if len(is.IPFamilies) > 0 && len(is.IPFamilies) < len(was.IPFamilies) {
			errs = append(errs, field.Invalid(policy, *is.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
		}
	}
	if addressed(n) && addressed(old) && len(is.IPFamilies) > 0 && len(was.IPFamilies) > 0 && is.IPFamilies[0] != was.IPFamilies[0] {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(0), is.IPFamilies, "may not change once set"))
	}
	return errs
}

// single refuses two of what a Service of one family has one of.
func single(n *corev1.Service) field.ErrorList {
	if *n.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		return nil
	}
	var errs field.ErrorList
	const must = "must be 'RequireDualStack' or 'PreferDualStack' when multiple "
	at := field.NewPath("spec", "ipFamilyPolicy")
	if len(n.Spec.ClusterIPs) > 1 {
		errs = append(errs, field.Invalid(at, *n.Spec.IPFamilyPolicy, must+"cluster IPs are specified"))
	}
	if len(n.Spec.IPFamilies) > 1 {
		errs = append(errs, field.Invalid(at, *n.Spec.IPFamilyPolicy, must+"IP families are specified"))
	}
	return errs
}

// infer adds the families of addresses that a Service states.
func (r Ranges) infer(n *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	for i, text := range n.Spec.ClusterIPs {
		a, err := netip.ParseAddr(text)
		if err != nil || i < len(n.Spec.IPFamilies) {
			continue // "None", or said already
		}
		f := familyOf(a.Unmap())
		if !r.has(f) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), n.Spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", f)))
			continue
		}
		n.Spec.IPFamilies = append(slices.Clone(n.Spec.IPFamilies), f)
	}
	return errs
}

// lacking refuses families that the machine does not have.
func (r Ranges) lacking(n *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if *n.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && !r.dual() {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *n.Spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range n.Spec.IPFamilies {
		if !r.has(f) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	return errs
}

// carryFamilies gives a new version of a Service the families and addresses that its old one has, where the file says nothing else. Half of what it has, as
// a file may state it, is no wish to lose the other half: that takes another policy. old is nil for none.
func carryFamilies(n, old *corev1.Service, r Ranges) field.ErrorList {
	if old == nil {
		return r.settle(n, nil)
	}
	is, was := &n.Spec, &old.Spec
	same := is.Type != corev1.ServiceTypeExternalName && was.Type != corev1.ServiceTypeExternalName && bare(n) == bare(old) &&
		(is.ClusterIP == was.ClusterIP || is.ClusterIP == "" && addressed(old))
	if !same {
		return r.settle(n, nil)
	}
	is.ClusterIP = was.ClusterIP
	if had := clusterIPs(old); begins(had, is.ClusterIPs) {
		is.ClusterIPs = slices.Clone(had)
	}
	if begins(was.IPFamilies, is.IPFamilies) {
		is.IPFamilies = slices.Clone(was.IPFamilies)
	}
	return r.settle(n, old)
}

// begins tells that a list is the beginning of another.
func begins[T comparable](whole, part []T) bool {
	return len(part) <= len(whole) && slices.Equal(whole[:len(part)], part)
}

// unsettled tells of a Service whose families nobody has decided yet, or that has no address of them.
func unsettled(svc *corev1.Service) bool {
	return svc.Spec.Type != corev1.ServiceTypeExternalName &&
		(len(svc.Spec.IPFamilies) == 0 || svc.Spec.IPFamilyPolicy == nil || len(clusterIPs(svc)) == 0)
}

// fits tells that a Service can have the families it states, or had them once; else that is told.
func (c *claims) fits(svc *corev1.Service) bool {
	if !unsettled(svc) {
		return true
	}
	errs := c.ranges.settle(svc.DeepCopy(), nil)
	if len(errs) > 0 {
		c.problem(svc, ReasonAddress, "%s", errs.ToAggregate())
		c.unfit[reconcile.KeyOf(svc)] = true
	}
	return len(errs) == 0
}
