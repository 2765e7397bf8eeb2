package reconciletest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/runtime"
)

// What an image does is in its name: KIND:NUMBER.
const (
	imageGood    = "good"    // serves at once
	imageSlow    = "slow"    // is ready after some seconds
	imageNever   = "never"   // is never ready
	imageCrash   = "crash"   // ends with an error after some seconds
	imageBad     = "bad"     // cannot be started
	imageMissing = "missing" // cannot be pulled
	imageDone    = "done"    // ends well after some seconds
	imageSick    = "sick"    // fails its liveness probe after some seconds
)

func kindOf(ref string) string {
	kind, _, _ := strings.Cut(ref, ":")
	return kind
}

// life is what really happens to a container, attempt by attempt.
type life struct {
	attempt       uint32
	probed, ready bool
	sick          bool          // its liveness probe has failed
	readySince    time.Time     // on the wall
	readyFor      time.Duration // the moment it became ready, in time that really passes
	startedAt     time.Time     // on the wall: that is what planners know of a run's length
	ended         time.Duration
	running       bool
	wait          time.Duration // what a restart has to wait, by the rules
	jumps         int           // of the clock, at the last end
	excused       bool          // something else stood in the way of the next start
	doubtful      bool          // a restarted controller cannot know since when it is ready: the clock was set in the life of the pod
}

// lifeID is a container of a pod.
type lifeID struct {
	uid       types.UID
	container string
}

// mainOf is the life of the one container that each pod has beside its init containers; nil before its first start.
func (w *world) mainOf(p *corev1.Pod) *life { return w.lives[lifeID{p.UID, p.Spec.Containers[0].Name}] }

// crew is what really happens to the containers that have to be ready for a pod to be: the main one and its sidecars. One that was never
// started is nil.
type crew []*life

func (w *world) crewOf(p *corev1.Pod) crew {
	s := append(make(crew, 0, 2), w.mainOf(p))
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil {
			s = append(s, w.lives[lifeID{p.UID, c.Name}])
		}
	}
	return s
}

func (s crew) ready() bool {
	return !slices.ContainsFunc(s, func(l *life) bool { return l == nil || !l.running || !l.ready })
}

// last is the one that became ready last.
func (s crew) last() *life {
	return slices.MaxFunc(s, func(a, b *life) int {
		return cmp.Or(cmp.Compare(a.readyFor, b.readyFor), a.readySince.Compare(b.readySince))
	})
}

func (s crew) doubtful() bool {
	return slices.ContainsFunc(s, func(l *life) bool { return l.doubtful })
}

// beforeStart lets starts fail.
func (w *world) beforeStart(_ string, cfg runtime.ContainerConfig) error {
	if kindOf(cfg.Image) == imageBad {
		return &runtime.StartError{Reason: runtime.ReasonStartError, Step: "execve /nothing", Err: errors.New("no such file or directory")}
	}
	if w.quirks.startsFail > 0 {
		w.quirks.startsFail--
		return &runtime.StartError{Reason: runtime.ReasonStartError, Step: "mount overlay", Err: errors.New("input/output error")}
	}
	return nil
}

func (w *world) executeOnMachine(a reconcile.Action) error {
	switch a := a.(type) { //nolint:gochecksumtype // the rest is done by execute
	case reconcile.RunSandbox:
		return w.runSandbox(a)
	case reconcile.UpdateFiles:
		w.must(w.fake.UpdateFiles(background, string(a.UID), a.Volumes))
		w.enqueue(a.Pod)
	case reconcile.StartContainer:
		w.start(a)
	case reconcile.RunHook:
		w.runHook(a)
	case reconcile.SignalContainer:
		w.checkHears(a.UID, "signal")
		w.memoryOf(a.UID).Signalled[a.Container] = reconcile.Signalled{Attempt: a.Attempt, At: w.clock.wall}
		w.signal(a.UID, a.Container)
	case reconcile.KillContainer:
		w.checkKill(a.UID, a.Container)
		w.must(w.fake.KillContainer(background, string(a.UID), a.Container))
		w.ended(a.UID, a.Container)
	case reconcile.RemoveContainer:
		w.must(w.fake.RemoveContainer(background, string(a.UID), a.Container, a.Attempt))
		w.enqueue(a.Pod)
	case reconcile.StopSandbox:
		w.must(w.fake.StopSandbox(background, string(a.UID), a.Empty))
		w.enqueue(a.Pod)
	case reconcile.RemoveSandbox:
		w.checkRemove(a.UID)
		w.must(w.fake.RemoveSandbox(background, string(a.UID)))
		w.enqueue(a.Pod)
	case reconcile.ForgetPod:
		w.forget(a)
	default:
		w.fail("nobody carries out %T", a)
	}
	return nil
}

func (w *world) must(err error) {
	if err != nil {
		w.fail("the machine refused what was planned: %v", err)
	}
}

func (w *world) runSandbox(a reconcile.RunSandbox) error {
	if w.podByUID(types.UID(a.Config.UID)) == nil {
		w.fail("a sandbox is made for pod %s, which is gone", a.Pod)
	}
	for _, other := range w.fake.Pods() {
		if other.Name == a.Config.Name && other.UID != a.Config.UID {
			w.fail("pod %s is made while another one of its name is there", a.Pod)
		}
	}
	if p := w.podByUID(types.UID(a.Config.UID)); p != nil {
		w.checkClaimed(p)
	}
	_, err := w.fake.RunSandbox(background, a.Config)
	if errors.Is(err, runtime.ErrNotFound) {
		w.fail("pod %s begins without its data: %v", a.Pod, err)
	}
	w.enqueue(a.Pod)
	return err
}

func (w *world) start(a reconcile.StartContainer) {
	w.checkStart(a)
	w.checkConfigured(a)
	status, err := w.fake.StartContainer(background, string(a.UID), a.Config)
	w.enqueue(a.Pod)
	m := w.memoryOf(a.UID)
	if err != nil {
		f := reconcile.StartFailure{
			Attempt: a.Config.Attempt, Backoff: a.Config.Backoff, SpecHash: a.Config.SpecHash,
			Reason: runtime.ReasonCreateError, Message: err.Error(), At: w.clock.wall,
		}
		if failed, ok := errors.AsType[*runtime.StartError](err); ok {
			f.Reason = failed.Reason
		}
		m.Failed[a.Config.Name] = f
	} else {
		delete(m.Failed, a.Config.Name)
	}
	w.began(a, status, err == nil)
}

// began sets a container's life going.
func (w *world) began(a reconcile.StartContainer, status runtime.ContainerStatus, ok bool) {
	k := lifeID{a.UID, a.Config.Name}
	l := w.lives[k]
	if l == nil {
		l = &life{}
		w.lives[k], w.stale = l, true
	}
	l.attempt, l.running, l.probed, l.ready, l.excused, l.doubtful = status.Attempt, true, false, true, false, false
	l.startedAt, l.readySince, l.readyFor, l.sick = w.clock.wall, w.clock.wall, w.clock.since, false
	if !ok || status.State == runtime.Exited {
		w.note(l)
		return
	}
	uid, name, attempt := a.UID, a.Config.Name, a.Config.Attempt
	still := func() bool { return w.lives[k] == l && l.attempt == attempt && l.running }
	after := time.Duration(1000+w.rng.IntN(15000)) * time.Millisecond
	switch kindOf(a.Config.Image) {
	case imageSlow:
		l.probed, l.ready = true, false
		w.later(after, func() {
			if still() {
				l.ready, l.readySince, l.readyFor = true, w.clock.wall, w.clock.since
				w.enqueueUID(uid)
			}
		})
	case imageNever:
		l.probed, l.ready = true, false
	case imageGood:
		l.ready = !w.hooked(uid, name)
	case imageSick:
		l.probed = true
		w.later(after, func() {
			if still() {
				w.say("container %s of %s fails its liveness probe", name, uid)
				l.ready, l.sick = false, true
				w.enqueueUID(uid)
				w.disturb(uid)
			}
		})
	case imageCrash, imageDone:
		code := 1
		if kindOf(a.Config.Image) == imageDone {
			code = 0
		}
		if w.rng.IntN(20) == 0 {
			after = 11 * time.Minute // long enough to be forgiven
		}
		w.later(after, func() {
			if still() && w.fake.Exit(string(uid), name, code) {
				w.say("container %s of %s ends with code %d", name, uid, code)
				w.ended(uid, name)
				w.disturb(uid)
			}
		})
	}
}

// signal asks the program to end: some do at once, some take their time, some have to be killed.
func (w *world) signal(uid types.UID, name string) {
	k := lifeID{uid, name}
	l := w.lives[k]
	if l == nil || !l.running {
		return
	}
	attempt := l.attempt
	delay := time.Duration(0)
	switch w.rng.IntN(4) {
	case 0:
		delay = time.Duration(w.rng.IntN(20000)) * time.Millisecond
	case 1:
		return
	}
	w.later(delay, func() {
		if w.lives[k] == l && l.attempt == attempt && l.running && w.fake.Exit(string(uid), name, 0) {
			if p := w.podByUID(uid); p == nil || p.DeletionTimestamp == nil {
				w.disturb(uid) // a restarted controller does not know that it asked for this
			}
			w.ended(uid, name)
		}
	})
}

// ended notes the end of a container's attempt.
func (w *world) ended(uid types.UID, name string) {
	if l := w.lives[lifeID{uid, name}]; l != nil && l.running {
		w.note(l)
	}
	w.enqueueUID(uid)
}

// note works out by the rules how long the next start has to wait.
func (w *world) note(l *life) {
	ran := w.clock.wall.Sub(l.startedAt)
	l.running, l.ready, l.ended, l.jumps = false, false, w.clock.since, w.clock.jumps
	switch {
	case l.attempt == 0:
		l.wait = 0
	case ran > 10*time.Minute:
		l.wait = -1 // at once, and the one after it after 10 s
	case l.wait == 0 || l.wait == -1:
		l.wait = 10 * time.Second
	default:
		l.wait = min(300*time.Second, 2*l.wait)
	}
}

func (w *world) enqueueUID(uid types.UID) {
	if p := w.podByUID(uid); p != nil {
		w.enqueue(podKey(p))
	}
}

func (w *world) forget(a reconcile.ForgetPod) {
	p, i := find(w.pods, a.Pod.Name)
	if i < 0 || p.UID != a.UID {
		return
	}
	if _, there := w.machine(a.UID); there {
		w.fail("%s is forgotten while the machine still has it", a.Pod)
	}
	w.dropPod(i)
	if slices.ContainsFunc(w.objects, func(o reconcile.Object) bool { return ownerUID(o.GetOwnerReferences()) == p.UID }) {
		w.enqueue(gcKey)
	}
	w.podMattersTo(p)
	delete(w.memory, a.UID)
	delete(w.born, a.UID)
	delete(w.timers, a.Pod)
	for k := range w.asked {
		if strings.HasPrefix(k, a.Pod.Name+" ") {
			delete(w.asked, k)
		}
	}
	for k := range w.lives {
		if k.uid == a.UID {
			delete(w.lives, k)
		}
	}
	w.enqueueOwner(p)
}

// available is the truth: it runs, it says that it is ready, and has been so long enough, by the clock on the wall or by
// the time that really passed.
func (w *world) available(p *corev1.Pod, s crew, minReady int32) bool {
	if p.DeletionTimestamp != nil || !s.ready() {
		return false
	}
	need := time.Duration(minReady) * time.Second
	if need == 0 || s.doubtful() {
		return true
	}
	l := s.last()
	long := w.clock.wall.Sub(l.readySince)
	return long < 0 || long >= need || w.clock.since-l.readyFor >= need
}

// surely tells that a pod which serves has done so for long enough by both clocks: then planners must know it.
func (w *world) surely(s crew, minReady int32) bool {
	need := time.Duration(minReady) * time.Second
	if need == 0 || s.doubtful() {
		return need == 0
	}
	l := s.last()
	return w.clock.wall.Sub(l.readySince) >= need && w.clock.since-l.readyFor >= need
}

func describe(p *corev1.Pod) string { return fmt.Sprintf("%s (%s)", p.Name, p.UID) }
