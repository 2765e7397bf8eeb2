package service

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// perEndpoints is how many addresses there are in one Endpoints, as in Kubernetes.
const perEndpoints = 1000

// repack says the same in the form that Kubernetes gives it: a port is in one subset, with all addresses that have it, and ports of the same addresses are
// in the same one.
func repack(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	var out []corev1.EndpointSubset
	at := map[string]int{}
	for _, o := range offers(subsets) {
		key := o.key()
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, o.subset())
		}
		if o.port != nil {
			out[i].Ports = append(out[i].Ports, *o.port)
		}
	}
	return out
}

// offer is a port and who has it; nil is the port of addresses without any.
type offer struct {
	port  *corev1.EndpointPort
	list  []*corev1.EndpointAddress
	ready map[place]bool
}

// place tells addresses apart: pods in the machine's network have one.
type place struct {
	ip  string
	pod types.UID
}

func placeOf(a *corev1.EndpointAddress) place {
	if a.TargetRef == nil {
		return place{ip: a.IP}
	}
	return place{a.IP, a.TargetRef.UID}
}

func offers(subsets []corev1.EndpointSubset) []*offer {
	var out []*offer
	enter := func(port *corev1.EndpointPort, s *corev1.EndpointSubset) {
		at := slices.IndexFunc(out, func(o *offer) bool { return apiequality.Semantic.DeepEqual(o.port, port) })
		if at < 0 {
			at = len(out)
			out = append(out, &offer{port: port, ready: map[place]bool{}})
		}
		out[at].add(s.Addresses, true)
		out[at].add(s.NotReadyAddresses, false)
	}
	for i := range subsets {
		s := &subsets[i]
		if len(s.Ports) == 0 {
			enter(nil, s)
		}
		for j := range s.Ports {
			enter(&s.Ports[j], s)
		}
	}
	return out
}

// add notes addresses that have the port. One that is said to be both is not ready.
func (o *offer) add(list []corev1.EndpointAddress, ready bool) {
	for i := range list {
		at := placeOf(&list[i])
		was, known := o.ready[at]
		if !known {
			o.list = append(o.list, &list[i])
		}
		o.ready[at] = ready && (was || !known)
	}
}

// key is the same for ports that the same addresses have.
func (o *offer) key() string {
	words := make([]string, 0, len(o.list))
	for at, ready := range o.ready {
		words = append(words, fmt.Sprint(at.ip, " ", at.pod, " ", ready))
	}
	slices.Sort(words)
	return strings.Join(words, "\n")
}

func (o *offer) subset() corev1.EndpointSubset {
	var s corev1.EndpointSubset
	for _, a := range o.list {
		if o.ready[placeOf(a)] {
			s.Addresses = append(s.Addresses, *a)
		} else {
			s.NotReadyAddresses = append(s.NotReadyAddresses, *a)
		}
	}
	return s
}

// truncate leaves as many addresses as there may be, ready ones first, and tells whether there were more. The subsets are changed.
func truncate(subsets []corev1.EndpointSubset) ([]corev1.EndpointSubset, bool) {
	left, over := perEndpoints, false
	cut := func(list *[]corev1.EndpointAddress) {
		over = over || len(*list) > left
		*list = (*list)[:min(len(*list), left)]
		left -= len(*list)
	}
	for i := range subsets {
		cut(&subsets[i].Addresses)
	}
	for i := range subsets {
		cut(&subsets[i].NotReadyAddresses)
	}
	return slices.DeleteFunc(subsets, func(s corev1.EndpointSubset) bool { return len(s.Addresses)+len(s.NotReadyAddresses) == 0 }), over
}
