package probe

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile/pod"
)

// firstPause is the time until a container that has just been asked for the first time, and was not ready, is asked again; it doubles from
// then on. Programs need some 10 ms to listen, and a rollout waits for them.
const firstPause = 50 * time.Millisecond

// Known is what is known of one attempt of a container.
type Known struct {
	Attempt        uint32
	Started, Ready bool
	ReadySince     time.Time
}

// watched is an attempt of a container that is probed.
type watched struct {
	target Target
	// born is when it was started. It carries the reading of the clock that nobody sets: one that is set back stops no probe.
	born   time.Time
	checks []*check

	started, ready bool
	readySince     time.Time // zero while it is not ready, or nobody knows
	failed         pod.ProbeKind
}

// check is one probe of a container. Looks that count come every period; while nothing good has been heard yet, others come between.
type check struct {
	on   *watched
	kind pod.ProbeKind
	spec *corev1.Probe

	next   time.Time     // the next turn: when a look is due that counts
	quick  time.Time     // when one is due that does not; zero for none
	pause  time.Duration // between those
	due    time.Time
	counts bool
	last   result
	run    int32 // results like last in a row
	over   bool
	stop   context.CancelFunc // while a look is under way
	index  int                // in the schedule, -1 when not in it
}

// newWatched begins with what is known of the attempt. Without anything known it has just been started.
func newWatched(t Target, now time.Time) *watched {
	c := t.Container
	age := max(0, now.Sub(t.StartedAt)) // less than nothing: the clock was set back meanwhile
	w := &watched{target: t, born: now.Add(-age), started: c.StartupProbe == nil, ready: c.ReadinessProbe == nil}
	if k := t.Known; k != nil && k.Attempt == t.Attempt {
		w.started, w.ready, w.readySince = w.started || k.Started, w.ready || k.Ready, k.ReadySince
	}
	if w.started && c.ReadinessProbe == nil && w.readySince.IsZero() {
		w.readySince = t.StartedAt
	}
	for _, s := range []struct {
		kind pod.ProbeKind
		spec *corev1.Probe
	}{{pod.Startup, c.StartupProbe}, {pod.Liveness, c.LivenessProbe}, {pod.Readiness, c.ReadinessProbe}} {
		if s.spec != nil && (s.kind != pod.Startup || !w.started) {
			w.checks = append(w.checks, newCheck(w, s.kind, s.spec))
		}
	}
	return w
}

func newCheck(w *watched, kind pod.ProbeKind, spec *corev1.Probe) *check {
	c := &check{on: w, kind: kind, spec: spec, index: -1}
	switch {
	case kind == pod.Liveness || kind == pod.Readiness && w.ready:
	case spec.SuccessThreshold > 1:
		c.next = c.earliest() // good news counts once a period here
		return c
	default:
		c.quick, c.pause = c.earliest(), firstPause
	}
	// A probe without a delay has its first turn after a period, so that a program has as many periods as the threshold says.
	if c.next = c.earliest(); spec.InitialDelaySeconds == 0 {
		c.next = c.next.Add(c.period())
	}
	return c
}

func (c *check) period() time.Duration { return secondsOf(max(c.spec.PeriodSeconds, 1)) }

// earliest is when the container may be asked first.
func (c *check) earliest() time.Time {
	return c.on.born.Add(secondsOf(c.spec.InitialDelaySeconds))
}

func secondsOf(n int32) time.Duration { return time.Duration(n) * time.Second }

// plan decides when the next look is due, and whether it counts. Turns that were missed are not made up for.
func (c *check) plan(now time.Time) {
	if late := now.Sub(c.next); late > 0 {
		c.next = c.next.Add(late.Truncate(c.period()) + c.period())
	}
	c.due, c.counts = c.next, true
	if !c.quick.IsZero() && c.quick.Before(c.next) {
		c.due, c.counts = c.quick, false
	}
}

// look begins a look that is due.
func (c *check) look(now time.Time) {
	if c.due.Equal(c.next) {
		c.next = c.next.Add(c.period())
	}
	if c.pause == 0 {
		return
	}
	c.quick = now.Add(c.pause)
	if c.pause *= 2; c.pause > c.period() {
		c.calm()
	}
}

// calm ends the looks between turns.
func (c *check) calm() { c.quick, c.pause = time.Time{}, 0 }

// take draws the conclusion from a result that counts.
func (w *watched) take(c *check, res result) {
	if res == warning {
		res = success
	}
	if c.run == 0 || c.last != res {
		c.last, c.run = res, 0
	}
	c.run++
	good := res == success
	if good {
		c.calm()
	}
	settled := good && c.run >= max(c.spec.SuccessThreshold, 1) || !good && c.run >= max(c.spec.FailureThreshold, 1)
	switch c.kind {
	case pod.Startup:
		w.started, c.over = good, good
		if settled && !good {
			w.failed = pod.Startup
		}
	case pod.Liveness:
		if settled && !good {
			w.failed = pod.Liveness
		}
	case pod.Readiness:
		if settled {
			w.ready = good
		}
	}
}

// date notes since when it is ready.
func (w *watched) date(now time.Time) {
	switch ready := w.started && w.ready; {
	case !ready:
		w.readySince = time.Time{}
	case w.readySince.IsZero():
		w.readySince = now
	}
}

// verdict is what the container counts as now.
func (w *watched) verdict() pod.Probe {
	return pod.Probe{Started: w.started, Ready: w.started && w.ready, ReadySince: w.readySince, Failed: w.failed}
}

// holds tells that a check has to wait: the others for the startup probe, and all of them for the end of a container that is to go.
func (w *watched) holds(c *check) bool {
	return w.failed != "" || c.kind != pod.Startup && !w.started
}

// schedule is a heap of checks, the next one first.
type schedule []*check

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

// Push implements heap.Interface.
func (s *schedule) Push(x any) {
	c, ok := x.(*check)
	if !ok {
		return
	}
	c.index = len(*s)
	*s = append(*s, c)
}

// Pop implements heap.Interface.
func (s *schedule) Pop() any {
	old := *s
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*s, c.index = old[:len(old)-1], -1
	return c
}
