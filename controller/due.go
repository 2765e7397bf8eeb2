package controller

import (
	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// enqueueAll makes every object due, and the table of traffic first: who waits for it is ending.
func (c *Controller) enqueueAll() {
	c.policies.doubt()
	c.queue.Add(keyPolicies)
	c.traffic.doubt()
	c.queue.Add(keyTraffic)
	c.queue.Add(keyNamespaces)
	c.queue.Add(c.allCertificates()...)
	c.queue.Add(keyScales)
	for _, p := range planners() {
		for _, it := range c.store.List(p.kind) {
			c.queue.Add(it.Key)
		}
	}
	for _, it := range c.store.List(reconcile.KindBarePod) {
		c.queue.Add(it.Key)
	}
	for _, it := range c.store.List("") { // what has no planner may have lost its owner
		if c.planners[it.Key.Kind] == nil && it.Source == nil && it.Key.Kind != reconcile.KindEvent {
			c.queue.Add(it.Key)
		}
	}
}

// changed makes due what a change in the store concerns. It is called from the writer's goroutine and only names keys.
func (c *Controller) changed(ch store.Change) {
	if ch.Key.Kind == reconcile.KindEvent {
		return // tells of changes, and is none
	}
	c.roomChanged(ch) // a pod counts before anything is decided about it
	if (c.planners[ch.Key.Kind] != nil || ch.Key.Kind == reconcile.KindBarePod) && !derived(ch) {
		c.queue.Add(ch.Key)
	}
	switch {
	case derived(ch) && !ch.Deleted: // made, and not looked at
	case ch.Owner.Kind != "":
		c.queue.AddAfter(ch.Owner, ownerPause)
	case ch.Key.Kind == reconcile.KindPod:
		c.queue.Add(reconcile.Key{Kind: reconcile.KindBarePod, Namespace: ch.Key.Namespace, Name: ch.Key.Name})
	}
	if ch.Deleted {
		for _, it := range c.store.OwnedBy(ch.UID) {
			c.queue.Add(it.Key)
		}
	}
	c.kinChanged(ch)
	c.namespacesChanged(ch)
	c.references.note(ch)
	c.storageChanged(ch)
	c.setsChanged(ch)
	c.trafficChanged(ch)
	c.endpointsChanged(ch)
	c.certificatesChanged(ch)
	c.policiesChanged(ch)
	c.disruptionChanged(ch)
	c.nodeChanged(ch)
	c.disksChanged(ch)
	c.scalesChanged(ch)
	if ch.Deleted && ch.Key.Kind == reconcile.KindReplicaSet && ch.Owner.Kind != "" {
		c.diary.orphaned(ch.Key, ch.Owner)
	}
	if ch.Deleted && ch.Key.Kind == reconcile.KindPod {
		if p, ok := ch.Old.(*corev1.Pod); ok {
			c.diary.buried(p, c.workloadOf(p))
		}
		c.memory.forget(ch.UID)
		c.hooks.forget(ch.UID)
		c.prober.Forget(ch.UID)
		c.observed.forget(string(ch.UID))
	}
	c.notify.notify()
}
