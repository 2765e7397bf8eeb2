package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/service"
)

// ranges are those of the Services' own addresses.
func (c *Controller) ranges() service.Ranges {
	return service.Ranges{IPv4: c.opts.ServiceCIDR, IPv6: c.opts.ServiceCIDR6}
}

// servicesOf are the Services of a namespace, for the variables that tell of them.
func (c *Controller) servicesOf(namespace string) []*corev1.Service {
	t := c.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.services == nil {
		t.services = map[string][]*corev1.Service{}
		for _, svc := range all[*corev1.Service](c.store, reconcile.KindService) {
			t.services[svc.Namespace] = append(t.services[svc.Namespace], svc)
		}
	}
	return t.services[namespace]
}

func (t *traffic) forgetServices() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.services = nil
}

// planService keeps the objects that tell of a Service as the table that holds has it.
func (c *Controller) planService(_ context.Context, it store.Item) (reconcile.Plan, error) {
	svc, ok := it.Object.(*corev1.Service)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	t := c.traffic
	t.mu.Lock()
	listed, known := t.table.Endpoints[it.Key]
	known = known || t.known && svc.Spec.Type == corev1.ServiceTypeExternalName
	t.mu.Unlock()
	_, failing := t.failing(it.Key)
	if !known {
		return reconcile.Plan{}, nil // the table makes it due
	}
	in := service.ObjectsInput{
		Service: svc, Listed: listed, Failing: failing, Stated: c.states(endpointsOf(it.Key)), Slices: owned[*discoveryv1.EndpointSlice](c.store, svc.UID),
		Node: c.opts.Node.Name, HostIP: c.opts.Node.HostIP, Nonce: c.opts.Nonce(),
	}
	for _, e := range owned[*corev1.Endpoints](c.store, svc.UID) {
		in.Endpoints = e
	}
	return service.Plan(in), nil
}

// allocate gives addresses and node ports to the Services that need some. They are the stored object's, and in the journal before anybody acts on
// them; the file stays the wish.
func (c *Controller) allocate() {
	t := c.traffic
	t.allocating.Lock()
	defer t.allocating.Unlock()
	changed, refused := service.Allocate(all[*corev1.Service](c.store, reconcile.KindService), c.ranges())
	for _, n := range changed {
		err := c.store.Update(reconcile.KeyOf(n), func(it store.Item) (store.Item, error) {
			if it.Object.GetUID() == n.UID && it.Object.GetResourceVersion() == n.ResourceVersion {
				it.Object = n
			}
			return it, nil
		})
		if ignoreGone(err) != nil {
			c.opts.Log.Error(err, "cannot give a service its address", "service", n.Name)
		}
	}
	t.mu.Lock()
	t.refused = refused
	t.mu.Unlock()
}

// RefuseService tells what a client's Service newly states and cannot have. Two clients at a time may both be let through: then the older Service has it, as
// with files.
func (c *Controller) RefuseService(wish *corev1.Service) field.ErrorList {
	return service.Refuse(wish, all[*corev1.Service](c.store, reconcile.KindService), c.ranges())
}

// withAllocation gives the new version of a Service what the old one was allocated, unless that was nothing it could have; old is nil for a new one. n is
// nobody's yet, and is changed. What it cannot be is in the result.
func (c *Controller) withAllocation(n, old store.Object) field.ErrorList {
	svc, is := n.(*corev1.Service)
	was, ok := old.(*corev1.Service)
	if !is || old != nil && !ok {
		return nil
	}
	if was != nil {
		c.traffic.mu.Lock()
		refused := c.traffic.refused[reconcile.KeyOf(was)]
		c.traffic.mu.Unlock()
		if refused {
			was = nil
		}
	}
	return service.Carry(svc, was, c.ranges())
}

// unfit is what a file's Service cannot be, beside what the one of its name is; nil for nothing.
func (c *Controller) unfit(n, old store.Object) *field.Error {
	svc, is := n.(*corev1.Service)
	if !is {
		return nil
	}
	if errs := c.withAllocation(svc.DeepCopy(), old); len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// allocatedOf is a copy of what a file states with what the stored object was allocated: that is no difference. With it is what the file's cannot be.
func allocatedOf(obj, old store.Object, ranges service.Ranges) (store.Object, field.ErrorList) {
	was, ok := old.(*corev1.Service)
	svc, is := obj.(*corev1.Service)
	if !ok || !is {
		return obj, nil
	}
	n := svc.DeepCopy()
	if errs := service.Carry(n, was, ranges); len(errs) > 0 {
		return svc, errs
	}
	if n.Spec.ClusterIP == was.Spec.ClusterIP && len(was.Spec.IPFamilies) == 0 { // nothing was given to it yet
		n.Spec.ClusterIPs, n.Spec.IPFamilies, n.Spec.IPFamilyPolicy = was.Spec.ClusterIPs, was.Spec.IPFamilies, was.Spec.IPFamilyPolicy
	}
	return n, nil
}
