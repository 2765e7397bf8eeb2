package controller

import (
	"math"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/fit"
	"berth/reconcile/pod"
)

// room knows what pods ask of the machine. While it has what all of them ask for together nobody waits, and nothing is worked out.
type room struct {
	has fit.Room // the machine

	mu    sync.Mutex
	pods  map[types.UID]guest
	asked fit.Room // by all of them
	// unplaced are those of the pods that have no place yet.
	unplaced map[types.UID]bool
	// wanting is for those who wait what there is not; nil when that is to be worked out anew.
	wanting map[types.UID]string
}

// guest is a pod that asks for something. Its place is its own from the moment it is told that there is one.
type guest struct {
	fit.Pod
	key     reconcile.Key
	decided bool // its status says whether it has a place
}

// newRoom counts for a machine. What is not known of it is no bound.
func newRoom(n pod.Node) *room {
	has := fit.Room{MilliCPU: int64(n.CPUs) * 1000, Memory: n.Memory, Disk: n.Disk}
	if n.CPUs == 0 {
		has.MilliCPU = math.MaxInt64
	}
	if n.Memory == 0 {
		has.Memory = math.MaxInt64
	}
	if n.Disk == 0 {
		has.Disk = math.MaxInt64
	}
	return &room{has: has, pods: map[types.UID]guest{}, unplaced: map[types.UID]bool{}}
}

// guestOf is a pod as it counts; false for one that asks for nothing, has ended, or waits for something else first.
func guestOf(p *corev1.Pod) (guest, bool) {
	g := guest{Pod: fit.Pod{UID: p.UID, Asks: fit.AskedBy(&p.Spec), Since: p.CreationTimestamp.Time}, key: reconcile.KeyOf(p)}
	if g.Asks == (fit.Room{}) || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return g, false
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodScheduled {
			g.Placed, g.decided = c.Status == corev1.ConditionTrue, true
		}
	}
	return g, g.Placed || p.DeletionTimestamp == nil && (!g.decided || fit.Waits(p))
}

// roomChanged counts a pod, and makes those due that may have a place now.
func (c *Controller) roomChanged(ch store.Change) {
	if ch.Key.Kind != reconcile.KindPod {
		return
	}
	var now guest
	counts := false
	if p, ok := ch.New.(*corev1.Pod); ok && !ch.Deleted {
		now, counts = guestOf(p)
	}
	for _, key := range c.room.set(ch.UID, now, counts) {
		c.queue.Add(key)
	}
}

// set counts a pod or does not, and returns who waits when one has given something back.
func (r *room) set(uid types.UID, now guest, counts bool) (due []reconcile.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, counted := r.pods[uid]
	now.Placed = now.Placed || counts && old.Placed && !now.decided
	if counted == counts && (!counts || old.Pod == now.Pod) {
		if counts {
			r.pods[uid] = now
		}
		return nil
	}
	short := !r.asked.Within(r.has)
	r.drop(uid)
	if counts {
		r.keep(now)
		return nil
	}
	if short {
		for who := range r.unplaced {
			due = append(due, r.pods[who].key)
		}
	}
	return due
}

func (r *room) drop(uid types.UID) {
	r.asked, r.wanting = r.asked.Minus(r.pods[uid].Asks), nil
	delete(r.pods, uid)
	delete(r.unplaced, uid)
}

func (r *room) keep(g guest) {
	r.asked, r.wanting = r.asked.Plus(g.Asks), nil
	r.pods[g.UID] = g
	if !g.Placed {
		r.unplaced[g.UID] = true
	}
}

// place gives a pod what it asks for, and keeps it until the pod has ended. It says what this machine does not have of it, "" when it has all.
func (r *room) place(p *corev1.Pod) string {
	g, _ := guestOf(p)
	if g.Asks == (fit.Room{}) || g.Placed {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known, counted := r.pods[p.UID]
	switch {
	case known.Placed:
		return ""
	case !counted: // It waits for something else, or did until now: its status will tell, and nothing is kept for it until then.
		return fit.Wanting(r.has, append(r.list(), g.Pod))[p.UID]
	case r.asked.Within(r.has):
	case r.wanting == nil:
		r.wanting = fit.Wanting(r.has, r.list())
	}
	if why := r.wanting[p.UID]; why != "" {
		return why
	}
	known.Placed = true // what the others want for was worked out with it
	r.pods[p.UID] = known
	delete(r.unplaced, p.UID)
	return ""
}

func (r *room) list() []fit.Pod {
	list := make([]fit.Pod, 0, len(r.pods)+1)
	for _, g := range r.pods {
		list = append(list, g.Pod)
	}
	return list
}
