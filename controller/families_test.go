package controller

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"berth/manifests"
	"berth/reconcile"
)

func withPolicy(policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &policy, families }
}

// On a machine with IPv6 a Service of both families has two addresses, a slice for each family, and the second comes and goes with its policy.
func TestServiceOfBothFamilies(t *testing.T) {
	inWorld(t, func(w *world) {
		six := netip.MustParsePrefix("fd00:43::/108")
		w.opts = func(o *Options) { o.ServiceCIDR6 = six }
		w.fake.HaveIPv6()
		w.start()
		whole := func(s *corev1.Service) { s.Spec.ClusterIP = "10.43.7.7" } // as one is written off a cluster of one family
		w.write(web("web", "web:1", 2), svc("whole", whole, withPolicy(corev1.IPFamilyPolicyPreferDualStack, corev1.IPv4Protocol)),
			svc("web", withPolicy(corev1.IPFamilyPolicyRequireDualStack)), svc("six", withPolicy(corev1.IPFamilyPolicySingleStack, corev1.IPv6Protocol)))
		w.settle()
		was := w.storedService(t, "web").Spec
		if len(was.ClusterIPs) != 2 || was.ClusterIPs[0] != was.ClusterIP || !six.Contains(netip.MustParseAddr(was.ClusterIPs[1])) {
			t.Fatalf("addresses: %v", was.ClusterIPs)
		}
		if only := w.storedService(t, "six").Spec; len(only.ClusterIPs) != 1 || !six.Contains(netip.MustParseAddr(only.ClusterIP)) {
			t.Errorf("addresses of one family: %v", only.ClusterIPs)
		}
		if is := w.storedService(t, "whole").Spec; len(is.ClusterIPs) != 2 || is.ClusterIPs[0] != "10.43.7.7" {
			t.Errorf("addresses of one that states its first: %v", is.ClusterIPs)
		}
		kinds := func() (out []string) {
			for _, s := range all[*discoveryv1.EndpointSlice](w.c.store, reconcile.KindEndpointSlice) {
				if s.Labels[discoveryv1.LabelServiceName] == "web" {
					out = append(out, string(s.AddressType))
				}
			}
			return out
		}
		if got := kinds(); len(got) != 2 || got[0] == got[1] {
			t.Errorf("slices: %v", got)
		}
		for _, p := range all[*corev1.Pod](w.c.store, reconcile.KindPod) {
			if ips := p.Status.PodIPs; len(ips) != 2 || !strings.HasPrefix(ips[1].IP, "fd99::") {
				t.Errorf("%s: %v", p.Name, ips)
			}
		}
		w.write(web("web", "web:1", 2), svc("web", withPolicy(corev1.IPFamilyPolicySingleStack)))
		w.settle()
		if is := w.storedService(t, "web").Spec; len(is.ClusterIPs) != 1 || is.ClusterIP != was.ClusterIP || len(is.IPFamilies) != 1 {
			t.Errorf("of one family: %v %v", is.ClusterIPs, is.IPFamilies)
		}
		if got := kinds(); len(got) != 1 || got[0] != "IPv4" {
			t.Errorf("slices of one family: %v", got)
		}
	})
}

// On a machine without IPv6 a file's Service that cannot be without is told so, and is not made; one that is there stays as it was.
func TestServiceWithoutItsFamily(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(svc("web"), svc("both", withPolicy(corev1.IPFamilyPolicyRequireDualStack)), svc("either", withPolicy(corev1.IPFamilyPolicyPreferDualStack)))
		w.settle()
		if _, ok := w.c.store.Get(reconcile.Key{Kind: "Service", Namespace: "shop", Name: "both"}); ok {
			t.Error("it is there")
		}
		if is := w.storedService(t, "either").Spec; len(is.ClusterIPs) != 1 || len(is.IPFamilies) != 1 {
			t.Errorf("of those there are: %v %v", is.ClusterIPs, is.IPFamilies)
		}
		was := w.storedService(t, "web").Spec
		changed := svc("web", withPolicy(corev1.IPFamilyPolicyRequireDualStack))
		if plan := w.c.DryRun(manifests.Snapshot{Objects: []manifests.Object{changed}}); len(plan) == 0 || plan[0].Verb != VerbRefuse {
			t.Errorf("plan: %v", plan)
		}
		w.write(changed, svc("either"))
		w.settle()
		if is := w.storedService(t, "web").Spec; *is.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack || is.ClusterIP != was.ClusterIP {
			t.Errorf("it has become %v", is)
		}
		var told string
		for _, f := range w.c.Status().Faults {
			told += f.String()
		}
		if !strings.Contains(told, "not configured for dual-stack") {
			t.Errorf("told: %q", told)
		}
	})
}
