// Package fit decides which pods this machine has room for: what a scheduler does with the only node there is. What counts is what pods ask for
// (requests), not what they use, and nobody is ended for the sake of another.
package fit

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// Room is an amount of what pods ask for: thousandths of a processor, bytes of memory and of the disk.
type Room struct {
	MilliCPU, Memory, Disk int64
}

// Plus is both together.
func (r Room) Plus(o Room) Room {
	return Room{r.MilliCPU + o.MilliCPU, r.Memory + o.Memory, r.Disk + o.Disk}
}

// Minus is what is left of r.
func (r Room) Minus(o Room) Room {
	return Room{r.MilliCPU - o.MilliCPU, r.Memory - o.Memory, r.Disk - o.Disk}
}

// Within tells whether r is no more than o.
func (r Room) Within(o Room) bool {
	return r.MilliCPU <= o.MilliCPU && r.Memory <= o.Memory && r.Disk <= o.Disk
}

// wanting says what is asked for and not there, in the words of a scheduler; "" when all is.
func (r Room) wanting(free Room) string {
	var words []string
	if r.MilliCPU > 0 && r.MilliCPU > free.MilliCPU {
		words = append(words, "1 Insufficient cpu")
	}
	if r.Disk > 0 && r.Disk > free.Disk {
		words = append(words, "1 Insufficient ephemeral-storage")
	}
	if r.Memory > 0 && r.Memory > free.Memory {
		words = append(words, "1 Insufficient memory")
	}
	return strings.Join(words, ", ")
}

// Waits tells whether a Pod was found to ask for more than there was.
func Waits(p *corev1.Pod) bool {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodScheduled {
			return c.Status == corev1.ConditionFalse && strings.Contains(c.Message, "1 Insufficient ")
		}
	}
	return false
}

// AskedBy is what the containers of a pod ask for at most at one time: those that run together, or an init container and the sidecars that were
// started before it.
func AskedBy(spec *corev1.PodSpec) Room {
	var sidecars, first Room
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		asks := askedBy(c)
		if reconcile.IsSidecar(c) {
			sidecars = sidecars.Plus(asks)
			asks = Room{}
		}
		first = most(first, sidecars.Plus(asks))
	}
	together := sidecars
	for i := range spec.Containers {
		together = together.Plus(askedBy(&spec.Containers[i]))
	}
	return most(first, together)
}

func askedBy(c *corev1.Container) Room {
	list := c.Resources.Requests
	return Room{MilliCPU: list.Cpu().MilliValue(), Memory: list.Memory().Value(), Disk: list.StorageEphemeral().Value()}
}

func most(a, b Room) Room {
	return Room{max(a.MilliCPU, b.MilliCPU), max(a.Memory, b.Memory), max(a.Disk, b.Disk)}
}

// Pod is one that asks for something.
type Pod struct {
	UID  types.UID
	Asks Room
	// Placed means that it has what it asks for, until it ends.
	Placed bool
	Since  time.Time
}

// Wanting says of each pod without a place what this machine, which has so much, does not have for it, and nothing of those it has room for. The older
// come first; one that is too large keeps no smaller one waiting.
func Wanting(has Room, pods []Pod) map[types.UID]string {
	free := has
	var waiting []*Pod
	for i := range pods {
		if p := &pods[i]; p.Placed {
			free = free.Minus(p.Asks)
		} else {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b *Pod) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.UID, b.UID))
	})
	wanting := map[types.UID]string{}
	for _, p := range waiting {
		if why := p.Asks.wanting(free); why != "" {
			wanting[p.UID] = why
		} else {
			free = free.Minus(p.Asks)
		}
	}
	return wanting
}
