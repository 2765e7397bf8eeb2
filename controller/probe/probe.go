// Package probe asks containers how they are: whether they have started, live, and are ready. It runs their lifecycle hooks as well.
// Everything goes through two verbs of the runtime, Dial and Exec, so that no image needs a curl and berth enters no namespace for it.
//
// Its probes keep to the kubelet's rules: the startup probe holds the others, results count when they have come in a row as often as the
// thresholds say, liveness ends a container and readiness keeps traffic away. Two things it does better. A container that is not ready yet is
// asked more often than its period says, at first every few milliseconds; only good news of these looks counts. And what is known
// of a running container is kept for the next controller, so that an upgrade makes nothing unready, nor anything ready that never was.
package probe

import (
	"container/heap"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"berth/reconcile"
	"berth/reconcile/pod"
)

// Options of a Prober. All are required.
type Options struct {
	Asker Asker
	Clock clock.Clock
	// Changed is called when another verdict is to be had about a container of a pod. Event is told what users shall read.
	Changed func(pod reconcile.Key, uid types.UID)
	Event   func(reconcile.RecordEvent)
}

// Prober probes the containers it is told of, each on its own schedule. It has one timer in all, and none without probes.
type Prober struct {
	opts  Options
	wake  chan struct{}
	under sync.WaitGroup // looks under way

	mu   sync.Mutex
	pods map[types.UID]map[string]*watched
	due  schedule
}

// New returns a prober that asks nobody until it is run.
func New(opts Options) *Prober {
	return &Prober{opts: opts, wake: make(chan struct{}, 1), pods: map[types.UID]map[string]*watched{}}
}

// Look tells which containers of a pod are to be probed from now on, and returns what is known of them, by name. A container of the pod
// that is not among them is asked no more; one without probes has no entry.
func (p *Prober) Look(uid types.UID, targets []Target) map[string]pod.Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.pods[uid]
	if len(old) == 0 && len(targets) == 0 {
		return nil
	}
	now := map[string]*watched{}
	verdicts := map[string]pod.Probe{}
	for i := range targets {
		t := &targets[i]
		if !probed(t.Container) {
			continue
		}
		w := old[t.Container.Name]
		if w == nil || w.target.Attempt != t.Attempt {
			w = p.watch(*t)
		}
		if t.Ending {
			p.release(w)
		}
		now[t.Container.Name] = w
		verdicts[t.Container.Name] = w.verdict()
	}
	for name, w := range old {
		if now[name] != w {
			p.drop(w)
		}
	}
	if p.pods[uid] = now; len(now) == 0 {
		delete(p.pods, uid)
	}
	return verdicts
}

// Forget asks a pod no more.
func (p *Prober) Forget(uid types.UID) { p.Look(uid, nil) }

// Known returns what the next controller shall know of a pod's containers, by name.
func (p *Prober) Known(uid types.UID) map[string]Known {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[string]Known{}
	for name, w := range p.pods[uid] {
		known[name] = Known{Attempt: w.target.Attempt, Started: w.started, Ready: w.ready, ReadySince: w.readySince}
	}
	return known
}

// Run asks until ctx ends.
func (p *Prober) Run(ctx context.Context) {
	defer p.under.Wait()
	for {
		wait, any := p.begin(ctx)
		var timer clock.Timer
		var c <-chan time.Time
		if any {
			timer = p.opts.Clock.NewTimer(wait)
			c = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-c:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// begin starts the looks that are due, and returns the time until the next one.
func (p *Prober) begin(ctx context.Context) (wait time.Duration, any bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.opts.Clock.Now()
	for len(p.due) > 0 {
		c := p.due[0]
		if left := c.due.Sub(now); left > 0 {
			return left, true
		}
		heap.Pop(&p.due)
		c.look(now)
		looking, stop := context.WithCancel(ctx)
		c.stop = stop
		p.under.Go(func() {
			defer stop()
			res, message, err := p.opts.Asker.ask(looking, &c.on.target, c.spec)
			p.conclude(ctx, c, res, message, err)
		})
	}
	return 0, false
}

// conclude takes in what a look has found, and plans the next.
func (p *Prober) conclude(ctx context.Context, c *check, res result, message string, err error) {
	p.mu.Lock()
	c.stop = nil
	w := c.on
	if c.over || ctx.Err() != nil { // the container has gone, or it was not heard out
		p.mu.Unlock()
		return
	}
	counts := c.counts || res != failure
	before := w.verdict()
	if err == nil && counts {
		w.take(c, res)
		w.date(p.opts.Clock.Now())
	}
	p.scheduleAll(w)
	changed := w.verdict() != before
	p.mu.Unlock()
	if counts {
		p.tell(&w.target, c.kind, res, message, err)
	}
	if changed {
		p.opts.Changed(w.target.Pod, w.target.UID)
	}
}

// tell makes the events of a kubelet.
func (p *Prober) tell(t *Target, kind pod.ProbeKind, res result, message string, err error) {
	e := reconcile.RecordEvent{Key: t.Pod, UID: t.UID, Warning: true, Reason: "Unhealthy"}
	name := strings.ToUpper(string(kind[:1])) + string(kind[1:])
	switch {
	case err != nil:
		e.Message = fmt.Sprintf("%s probe errored and resulted in unknown state: %v", name, err)
	case res == failure:
		e.Message = fmt.Sprintf("%s probe failed: %s", name, message)
	case res == warning:
		e.Reason, e.Message = "ProbeWarning", fmt.Sprintf("%s probe warning: %s", name, message)
	default:
		return
	}
	p.opts.Event(e)
}

// watch begins to probe an attempt of a container.
func (p *Prober) watch(t Target) *watched {
	w := newWatched(t, p.opts.Clock.Now())
	p.scheduleAll(w)
	return w
}

// release ends the probes that could only start a container anew.
func (p *Prober) release(w *watched) {
	w.failed = ""
	for _, c := range w.checks {
		if c.kind != pod.Readiness {
			p.end(c)
		}
	}
	p.scheduleAll(w) // what waited for the end of the container goes on until it has come
}

func (p *Prober) drop(w *watched) {
	for _, c := range w.checks {
		p.end(c)
	}
}

func (p *Prober) end(c *check) {
	c.over = true
	if c.stop != nil {
		c.stop()
	}
	if c.index >= 0 {
		heap.Remove(&p.due, c.index)
	}
}

// scheduleAll puts every check of a container that may look, and does not yet, into its place.
func (p *Prober) scheduleAll(w *watched) {
	for _, c := range w.checks {
		if c.over || c.stop != nil || c.index >= 0 || w.holds(c) {
			continue
		}
		c.plan(p.opts.Clock.Now())
		heap.Push(&p.due, c)
		if c.index == 0 {
			select {
			case p.wake <- struct{}{}:
			default:
			}
		}
	}
}

func probed(c *corev1.Container) bool {
	return c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil
}
