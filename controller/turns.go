package controller

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/claim"
)

// turns knows which pod's turn it is with each ReadWriteOncePod claim. What a file names comes one by one, so two pods that are looked at in the same
// moment may see different ones beside them: who was chosen stays chosen until it is gone or has ended.
type turns struct {
	mu     sync.Mutex
	chosen map[reconcile.Key]*corev1.Pod // by claim, as it was then
}

func newTurns() *turns { return &turns{chosen: map[reconcile.Key]*corev1.Pod{}} }

// forget is called when a claim is gone.
func (t *turns) forget(claim reconcile.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.chosen, claim)
}

// turn is the pod that has a ReadWriteOncePod claim, which p mounts; nil when all that mount it have ended.
func (c *Controller) turn(key reconcile.Key, p *corev1.Pod) *corev1.Pod {
	c.turns.mu.Lock()
	defer c.turns.mu.Unlock()
	if chosen := c.turns.chosen[key]; chosen != nil {
		now, ok := store.Get[*corev1.Pod](c.store, reconcile.KeyOf(chosen))
		if ok && now.UID == chosen.UID && claim.Holder([]*corev1.Pod{now}) != nil {
			return now
		}
	}
	pods := c.podsWith(key)
	if !slices.ContainsFunc(pods, func(o *corev1.Pod) bool { return o.UID == p.UID }) {
		pods = append(pods, p) // stored, but not yet noted
	}
	chosen := claim.Holder(pods)
	c.turns.chosen[key] = chosen
	return chosen
}
