package pod

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/runtime"
)

// killAgain is how long a killed process may take to vanish before it is killed again: the kernel does it in milliseconds, unless the
// process hangs in a device.
const killAgain = 2 * time.Second

// remove ends a Pod that is to go: containers within their grace, then everything, then the Pod itself.
func (p *pass) remove() {
	deadline, asked := p.pod.DeletionTimestamp.Time, p.in.Now
	if s := p.pod.DeletionGracePeriodSeconds; s != nil {
		grace := time.Duration(*s) * time.Second
		if at := deadline.Add(-grace); at.Before(asked) { // else the clock was set back
			asked = at
		}
		if *s > 0 && deadline.Sub(p.in.Now) > grace+time.Second {
			p.do(reconcile.DeletePod{Key: p.key, UID: p.pod.UID, Grace: s, Reason: "the clock was set back"})
		}
		if *s == 0 {
			deadline = p.in.Now
		}
	}
	if !p.stop(ending{deadline: deadline, decided: asked, reason: "the pod is deleted"}) {
		return
	}
	if p.in.Observed != nil {
		p.do(reconcile.RemoveSandbox{Pod: p.key, UID: p.pod.UID})
	}
	p.do(reconcile.ForgetPod{Pod: p.key, UID: p.pod.UID})
	p.forget = true
}

// minimumGrace is how long a container has after its signal, also where its hook or those before it have used up the grace.
const minimumGrace = 2 * time.Second

// stop ends all containers and tells whether all have ended: first those that do the work, then sidecars, the last one first. Their hooks
// run at once, as the kubelet does it. At the deadline what is left is killed.
func (p *pass) stop(e ending) bool {
	var workers, sidecars []*container
	for _, c := range p.all() {
		switch {
		case !c.running():
		case c.sidecar:
			sidecars = append([]*container{c}, sidecars...)
		default:
			workers = append(workers, c)
		}
	}
	for _, c := range workers {
		e.turn, e.ordered, e.message = true, true, "Stopping container "+c.spec.Name
		p.end(c, e)
	}
	for i, c := range sidecars {
		e.turn, e.ordered, e.message = len(workers) == 0 && i == 0, true, "Stopping container "+c.spec.Name
		p.end(c, e)
	}
	return len(workers)+len(sidecars) == 0
}

// ending is how a container is to end.
type ending struct {
	decided, deadline time.Time
	turn              bool   // it is its turn to get the signal
	ordered           bool   // its pod ends; else it is ended for what it did
	message           string // of the event
	reason            string // of the action
}

// end takes a container one step towards its end: its hook, its signal, and when its time is over the kill.
func (p *pass) end(c *container, e ending) {
	hook, begun := p.hook(c, reconcile.PreStop)
	sent, signalled := p.signalled(c)
	left := e.deadline.Sub(p.in.Now)
	if left > 0 {
		p.again(left)
		switch {
		case signalled:
		case !begun && !p.drained(e):
		case preStop(c) != nil && !begun:
			p.noteKilling(e)
			p.runHook(c, reconcile.PreStop, preStop(c), left)
		case begun && !hook.Done(), !e.turn:
		default:
			p.signal(c, e)
		}
		return
	}
	// One that had to wait for its signal gets a moment after it. Without any grace there is none.
	if late := c.sidecar || preStop(c) != nil; late && !p.atOnce() {
		if !signalled {
			p.again(minimumGrace)
			p.signal(c, e)
			return
		}
		if rest := remaining(sent.At, minimumGrace, p.in.Now); rest > 0 {
			p.again(rest)
			return
		}
	}
	p.again(killAgain)
	p.kill(c, "its grace is over")
}

// drainLimit is how long an end waits at most for new connections to go elsewhere: that takes milliseconds, unless something is broken.
const drainLimit = 5 * time.Second

// drained tells that nobody sends new connections to the Pod any more. Only then its containers hear of their end: one that closes its door before
// that refuses those who come. The wait is a part of the grace, and takes no more than half of it.
func (p *pass) drained(e ending) bool {
	if !p.in.Routed {
		return true
	}
	wait := remaining(e.decided, min(drainLimit, e.deadline.Sub(e.decided)/2), p.in.Now)
	if wait > 0 {
		p.again(wait)
	}
	return wait == 0
}

// unreadySince is since when the Pod is known not to be ready: from then on it is taken out of service.
func (p *pass) unreadySince() time.Time {
	list := p.pod.Status.Conditions
	if i := conditionAt(list, corev1.PodReady); i >= 0 && list[i].Status == corev1.ConditionFalse {
		return list[i].LastTransitionTime.Time
	}
	return p.in.Now
}

// atOnce tells that the Pod was deleted by force.
func (p *pass) atOnce() bool {
	s := p.pod.DeletionGracePeriodSeconds
	return p.pod.DeletionTimestamp != nil && s != nil && *s == 0
}

// signalled is the stop signal that the running attempt was sent.
func (p *pass) signalled(c *container) (reconcile.Signalled, bool) {
	sent, ok := p.in.Memory.Signalled[c.spec.Name]
	return sent, ok && sent.Attempt == c.last.Attempt
}

func (p *pass) noteKilling(e ending) {
	p.do(reconcile.RecordEvent{Key: p.key, UID: p.pod.UID, Routine: e.ordered, Reason: "Killing", Message: e.message})
}

// signal asks a container to end.
func (p *pass) signal(c *container, e ending) {
	if _, told := p.hook(c, reconcile.PreStop); !told {
		p.noteKilling(e)
	}
	p.do(reconcile.SignalContainer{
		Pod: p.key, UID: p.pod.UID, Container: c.spec.Name, Attempt: c.last.Attempt, Signal: p.stopSignal(c), Reason: e.reason,
	})
}

func (p *pass) kill(c *container, reason string) {
	p.do(reconcile.KillContainer{Pod: p.key, UID: p.pod.UID, Container: c.spec.Name, Reason: reason})
}

// stopSignal is what the Pod says, or the image, or SIGTERM.
func (p *pass) stopSignal(c *container) int {
	if l := c.spec.Lifecycle; l != nil && l.StopSignal != nil {
		if n, ok := signalNumber(string(*l.StopSignal)); ok {
			return n
		}
	}
	if image := p.in.Images[c.spec.Image].Image; image != nil {
		if n, ok := signalNumber(image.Config.StopSignal); ok {
			return n
		}
	}
	return sigterm
}

const sigterm = 15

// The numbers are those of amd64 and arm64, which agree.
var signalNumbers = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12,
	"PIPE": 13, "ALRM": 14, "TERM": sigterm, "STKFLT": 16, "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22,
	"URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "PWR": 30, "SYS": 31, "RTMIN": 34, "RTMAX": 64,
}

// signalNumber reads "SIGQUIT", "QUIT", "3", "SIGRTMIN+3" and "RTMAX-1".
func signalNumber(name string) (int, bool) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, n > 0 && n <= signalNumbers["RTMAX"]
	}
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	base, offset := name, 0
	if i := strings.IndexAny(name, "+-"); i > 0 {
		n, err := strconv.Atoi(name[i:])
		if err != nil {
			return 0, false
		}
		base, offset = name[:i], n
	}
	n, ok := signalNumbers[base]
	n += offset
	return n, ok && n > 0 && n <= signalNumbers["RTMAX"]
}

// verdict says that a Pod has come to its end by itself.
type verdict struct {
	phase  corev1.PodPhase
	reason string
	// message and cause go to the status of the Pod.
	cause, message string
	since          time.Time
}

// settled tells whether the Pod has come to its end: it said so before, it took too long, an init container failed for good, or all
// containers ended and none starts again. What still runs then is stopped.
func (p *pass) settled() bool {
	s := p.pod.Status
	switch {
	case s.Phase == corev1.PodFailed || s.Phase == corev1.PodSucceeded:
		p.verdict = verdict{phase: s.Phase, cause: s.Reason, message: s.Message, reason: "the pod has ended", since: p.lastEnd()}
		return true
	case p.in.Evicted != nil:
		p.verdict = p.evicted()
		return true
	case p.overdue():
		return true
	}
	if p.over {
		return false
	}
	for _, c := range p.inits {
		if c.exited() && c.last.ExitCode != 0 && p.inRound(c) && !p.restarts(c) {
			p.verdict = verdict{phase: corev1.PodFailed, reason: "init container " + c.spec.Name + " failed", since: p.lastEnd()}
			return true
		}
	}
	phase := corev1.PodSucceeded
	for _, c := range p.mains {
		if !c.exited() || c.refused != nil || !p.inRound(c) || p.restarts(c) {
			return false
		}
		if c.last.ExitCode != 0 {
			phase = corev1.PodFailed
		}
	}
	p.verdict = verdict{phase: phase, reason: "the pod has ended", since: p.lastEnd()}
	return true
}

func (p *pass) overdue() bool {
	limit := p.pod.Spec.ActiveDeadlineSeconds
	if limit == nil {
		return false
	}
	deadline := p.startTime().Add(time.Duration(*limit) * time.Second)
	if left := deadline.Sub(p.in.Now); left > 0 {
		p.again(left)
		return false
	}
	p.verdict = verdict{
		phase: corev1.PodFailed, cause: "DeadlineExceeded", message: "Pod was active on the node longer than the specified deadline",
		reason: "its active deadline is over", since: deadline,
	}
	return true
}

// lastEnd is when the last worker ended, or the zero time.
func (p *pass) lastEnd() time.Time {
	var last time.Time
	for _, c := range p.all() {
		if c.exited() && !c.sidecar && c.last.FinishedAt.After(last) {
			last = c.last.FinishedAt
		}
	}
	return last
}

func (p *pass) anyRunning() bool {
	for _, c := range p.all() {
		if c.last != nil && c.last.State == runtime.Running {
			return true
		}
	}
	return false
}
