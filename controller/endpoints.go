package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/service"
)

// endpointsOf and serviceOf name the two that belong together: they have one name.
func endpointsOf(key reconcile.Key) reconcile.Key { key.Kind = reconcile.KindEndpoints; return key }
func serviceOf(key reconcile.Key) reconcile.Key   { key.Kind = reconcile.KindService; return key }

// states tells that a file states an object.
func (c *Controller) states(key reconcile.Key) bool {
	it, ok := c.store.Get(key)
	return ok && it.Source != nil
}

// planEndpoints keeps the slices of Endpoints that a file states; those that berth makes are told of by the slices of their Service.
func (c *Controller) planEndpoints(_ context.Context, it store.Item) (reconcile.Plan, error) {
	e, ok := it.Object.(*corev1.Endpoints)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	if it.Source == nil {
		return reconcile.Plan{}, nil
	}
	in := service.MirrorInput{Endpoints: e, Slices: owned[*discoveryv1.EndpointSlice](c.store, e.UID), Nonce: c.opts.Nonce()}
	if svc, ok := store.Get[*corev1.Service](c.store, serviceOf(it.Key)); ok {
		in.Service = svc
	}
	return service.Mirror(in), nil
}

// endpointsChanged makes due what a change of one of the two means to the other.
func (c *Controller) endpointsChanged(ch store.Change) {
	switch {
	case ch.Key.Kind == reconcile.KindService && c.states(endpointsOf(ch.Key)):
		c.queue.Add(endpointsOf(ch.Key))
	case ch.Key.Kind == reconcile.KindEndpoints && !derived(ch):
		c.queue.Add(serviceOf(ch.Key))
	}
}

// gives tells of what gives way to a file's object of its name: Endpoints that berth made only tell what slices tell as well.
func gives(it *store.Item) bool { return it.Key.Kind == reconcile.KindEndpoints && it.Source == nil }

// derived tells of what is made of Services, or of Endpoints that a file states: nothing is decided by it.
func derived(ch store.Change) bool {
	return (ch.Key.Kind == reconcile.KindEndpoints || ch.Key.Kind == reconcile.KindEndpointSlice) &&
		(ch.Owner.Kind == reconcile.KindService || ch.Owner.Kind == reconcile.KindEndpoints)
}
