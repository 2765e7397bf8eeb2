package service

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// managedMirrors is the name of Kubernetes' controller for slices of Endpoints that somebody states.
const managedMirrors = "endpointslicemirroring-controller.k8s.io"

// annotationLeader is on Endpoints that were a lock for those who elect a leader, and lead nowhere.
const annotationLeader = "control-plane.alpha.kubernetes.io/leader"

// perMirror is how many addresses of one subset are mirrored, as in Kubernetes.
const perMirror = 1000

// MirrorInput is what the slices of stated Endpoints are made of. Nothing in it is changed.
type MirrorInput struct {
	Endpoints *corev1.Endpoints
	// Service is the one of their name, nil for none.
	Service *corev1.Service
	// Slices are those made for them before.
	Slices []*discoveryv1.EndpointSlice
	Nonce  uint64
}

// Mirror keeps EndpointSlices that say what stated Endpoints say, for clients that know only slices: one for each subset and family. Endpoints without a
// Service, of one that has a selector, or that are not to be mirrored have none.
func Mirror(in MirrorInput) reconcile.Plan {
	left := byName(in.Slices)
	var list []change
	skipped := 0
	if svc := in.Service; svc != nil && len(svc.Spec.Selector) == 0 && mirrored(in.Endpoints) {
		subsets := repack(in.Endpoints.Subsets)
		for i := range subsets {
			made, over := in.slices(&subsets[i])
			skipped += over
			for _, n := range made {
				c := change{next: n}
				if at := slices.IndexFunc(left, func(s *discoveryv1.EndpointSlice) bool { return alike(s, n) }); at >= 0 {
					c.old = left[at]
					left = slices.Delete(left, at, at+1)
				}
				list = append(list, c)
			}
		}
	}
	actions := settle(append(list, going(left)...), in.Endpoints.Name, reconcile.NewNames(in.Endpoints.UID, in.Nonce, nil))
	if skipped > 0 && len(actions) > 0 {
		actions = append(actions, reconcile.RecordEvent{
			Key: reconcile.KeyOf(in.Endpoints), Warning: true, Reason: "TooManyAddressesToMirror",
			Message: fmt.Sprintf("A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", perMirror, skipped),
		})
	}
	return reconcile.Plan{Actions: actions}
}

// mirrored tells that Endpoints lead somewhere: all do, but those whose author says that he states slices himself, and locks of leaders.
func mirrored(e *corev1.Endpoints) bool {
	_, lock := e.Annotations[annotationLeader]
	return e.Labels[discoveryv1.LabelSkipMirror] != "true" && !lock
}

// slices are those of one subset, and how many of its addresses are in none.
func (in *MirrorInput) slices(s *corev1.EndpointSubset) (list []*discoveryv1.EndpointSlice, skipped int) {
	left := perMirror
	for i, addresses := range [][]corev1.EndpointAddress{s.Addresses, s.NotReadyAddresses} {
		for j := range addresses {
			addr, ok := parse(addresses[j].IP)
			if !ok || left == 0 {
				skipped++
				continue
			}
			left--
			kind := discoveryv1.AddressType(familyOf(addr))
			at := slices.IndexFunc(list, func(s *discoveryv1.EndpointSlice) bool { return s.AddressType == kind })
			if at < 0 {
				at = len(list)
				list = append(list, in.slice(s.Ports, kind))
			}
			ep := discoveryv1.Endpoint{
				Addresses: []string{addr.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(i == 0)},
				TargetRef: addresses[j].TargetRef, NodeName: addresses[j].NodeName,
			}
			if name := addresses[j].Hostname; name != "" {
				ep.Hostname = new(name)
			}
			list[at].Endpoints = append(list[at].Endpoints, ep)
		}
	}
	return list, skipped
}

// slice is one without endpoints. It has the labels and annotations of what it mirrors.
func (in *MirrorInput) slice(ports []corev1.EndpointPort, kind discoveryv1.AddressType) *discoveryv1.EndpointSlice {
	e := in.Endpoints
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, GenerateName: e.Name + "-", Labels: map[string]string{}, Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind(reconcile.KindEndpoints))},
		},
		AddressType: kind, Ports: []discoveryv1.EndpointPort{},
	}
	maps.Copy(s.Labels, e.Labels)
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = e.Name, managedMirrors
	maps.Copy(s.Annotations, e.Annotations)
	delete(s.Annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(s.Annotations, corev1.LastAppliedConfigAnnotation)
	for i := range ports {
		p := &ports[i]
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(p.Port), Protocol: new(known(p.Protocol)), AppProtocol: p.AppProtocol})
	}
	return s
}
