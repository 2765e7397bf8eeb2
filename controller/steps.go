package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"berth/reconcile"
	"berth/runtime"
)

// The ordinary steps of pods (assigned, pulled, created, started, ending) are told behind the back of who takes them: nothing waits for an event, and where many pods
// take them at once most are not told, as a kubelet does.
const (
	// A kubelet's eventRecordQPS, and five times its eventBurst: 100 pods at once are told of whole.
	stepsRate, stepsBurst = 50, 500
)

// steps are what is on its way to being told.
type steps struct {
	clock clock.PassiveClock
	queue chan step

	mu     sync.Mutex
	left   float64 // how many may be told now
	filled time.Time
}

type step struct {
	reconcile.RecordEvent
	at time.Time
}

func newSteps(c clock.PassiveClock) steps {
	return steps{clock: c, queue: make(chan step, stepsBurst), left: stepsBurst, filled: c.Now()}
}

// put takes a step, or drops it.
func (s *steps) put(a reconcile.RecordEvent) {
	now := s.clock.Now()
	s.mu.Lock()
	s.left = min(stepsBurst, s.left+max(0, now.Sub(s.filled).Seconds())*stepsRate)
	s.filled = now
	allowed := s.left >= 1
	if allowed {
		s.left--
	}
	s.mu.Unlock()
	if !allowed {
		return
	}
	select {
	case s.queue <- step{a, now}:
	default:
	}
}

// run tells the steps until ctx ends.
func (e *events) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-e.steps.queue:
			if s.UID == "" {
				if it, ok := e.store.Get(s.Key); ok {
					s.UID = it.Object.GetUID()
				}
			}
			e.record(s.RecordEvent, s.at)
		}
	}
}

// tellStart tells of a container that was started, in the words of a kubelet. That its image was pulled for it has been told.
func (c *Controller) tellStart(a *reconcile.StartContainer) {
	tell := func(reason, message string) {
		c.events.steps.put(reconcile.RecordEvent{Key: a.Pod, UID: a.UID, Routine: true, Reason: reason, Message: message})
	}
	it, ok := c.store.Get(a.Pod)
	if pulled := c.images.pulledAt(a.Config.Image); !ok || a.Config.Attempt > 0 || pulled.Before(it.Object.GetCreationTimestamp().Time) {
		tell("Pulled", fmt.Sprintf("Container image %q already present on machine", a.Config.Image))
	}
	tell("Created", "Created container: "+a.Config.Name)
	tell("Started", "Started container "+a.Config.Name)
}

// pullTold makes the event of a pull that succeeded for a pod that asked for it at a moment.
func pullTold(pod reconcile.Key, ref string, img *runtime.Image, took, waited time.Duration) reconcile.RecordEvent {
	return reconcile.RecordEvent{Key: pod, Routine: true, Reason: "Pulled", Message: fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.",
		ref, took.Truncate(time.Millisecond), waited.Truncate(time.Millisecond), img.Size)}
}
