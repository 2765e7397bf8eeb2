package controller

import (
	"slices"
	"strings"

	"berth/reconcile"
	"berth/reconcile/certificate"
	"berth/reconcile/service"
	"berth/runtime"
)

// tellProblems keeps what could not be done for the status, and tells of what is new.
func (c *Controller) tellProblems(table *service.Table, status runtime.RouteStatus) {
	t := c.traffic
	t.mu.Lock()
	list := slices.Concat(table.Problems, status.Problems)
	had := t.problems
	t.problems = list
	t.mu.Unlock()
	for _, p := range slices.Concat(had, list) {
		if key := ownerKey(p.Owner); c.planners[key.Kind] != nil && slices.Contains(had, p) != slices.Contains(list, p) {
			c.queue.Add(key) // its status tells whether it can be done
		}
	}
	for _, p := range list {
		if !slices.Contains(had, p) && p.Reason != certificate.ReasonPending && p.Reason != certificate.ReasonFailed { // who asks the authority tells of those
			key := ownerKey(p.Owner)
			e := reconcile.RecordEvent{Key: key, Warning: true, Reason: p.Reason, Message: p.Message}
			if it, ok := c.store.Get(key); ok {
				e.UID = it.Object.GetUID()
			}
			c.events.add(e)
		}
	}
}

// ownerKey reads KIND/NAMESPACE/NAME.
func ownerKey(owner string) reconcile.Key {
	kind, rest, _ := strings.Cut(owner, "/")
	namespace, name, _ := strings.Cut(rest, "/")
	return reconcile.Key{Kind: kind, Namespace: namespace, Name: name}
}

// Problem is something stated that the network cannot do.
type Problem struct {
	Object  string `json:"object"` // KIND/NAMESPACE/NAME
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// problemOf is what the network cannot do of an object; "" for nothing.
func (c *Controller) problemOf(key reconcile.Key) string {
	for _, p := range append(c.trafficProblems(), c.certificateProblems()...) {
		if p.Object == key.String() {
			return p.Message
		}
	}
	return ""
}

// trafficProblems are those of the table that holds.
func (c *Controller) trafficProblems() []Problem {
	c.traffic.mu.Lock()
	defer c.traffic.mu.Unlock()
	out := make([]Problem, 0, len(c.traffic.problems))
	if c.traffic.failures >= stuckAfter {
		out = append(out, Problem{Object: keyTraffic.Kind, Reason: "FailedRoute", Message: firstLine(c.traffic.failure)})
	}
	for _, p := range c.traffic.problems {
		out = append(out, Problem{Object: p.Owner, Reason: p.Reason, Message: p.Message})
	}
	return out
}
