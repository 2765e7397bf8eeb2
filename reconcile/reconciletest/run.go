package reconciletest

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile/request"
)

const (
	eventsPerSeed = 60
	// restlessAfter is more passes than any moment needs: past it, planners answer each other for ever.
	restlessAfter = 20_000
	// healedWithin is how long a healed world may take to become as wished: the longest back-offs, graces and deadlines, several times over.
	healedWithin = 2 * time.Hour
)

// Result tells of the life of one seed.
type Result struct {
	Seed uint64
	// Err says what went wrong, nil when everything held.
	Err error
	// Trace is every event and action, when it was asked for.
	Trace []string
	// Events, Passes, Actions and Moments (in which nothing was left to do) say how much was lived through.
	Events, Passes, Actions, Moments int
}

// Run lives through one seed: workloads are made, things happen, then everything is healed and must become as wished.
func Run(seed uint64, trace bool) Result {
	w := newWorld(seed, trace)
	w.live()
	return Result{
		Seed: seed, Err: w.broken, Trace: w.trace, Events: w.happened, Passes: w.passes, Actions: w.actions, Moments: w.moments,
	}
}

func (w *world) live() {
	if w.rng.IntN(3) == 0 {
		w.stated = nil // a world of Deployments only: some of what can go wrong with them is rare
	}
	w.addDeployment()
	for w.workloads() < least {
		w.addWorkload()
	}
	for len(w.wishes) == 0 {
		w.editWishes()
	}
	for w.happened < eventsPerSeed && w.broken == nil {
		w.happenSomething()
		w.maybeOrphan()
		w.goOn()
	}
	w.heal()
	for range 3 { // what was given up in the meantime needs another file
		w.rest(w.clock.since + healedWithin)
		if w.broken != nil || !w.release() {
			break
		}
	}
	if w.broken != nil {
		return
	}
	w.checkConverged()
	if w.broken == nil {
		w.checkRestart()
	}
}

// goOn lets a little happen: some passes only, so that the next event falls into the middle, or some time. Long times are rare: mostly
// what crashes goes on crashing in them.
func (w *world) goOn() {
	switch n := w.rng.IntN(40); {
	case n < 20:
		for range w.rng.IntN(25) {
			if len(w.due) == 0 || w.broken != nil {
				return
			}
			w.step(0)
		}
	case n < 34:
		w.rest(w.clock.since + time.Duration(w.rng.IntN(8_000))*time.Millisecond)
	case n < 38:
		w.rest(w.clock.since + time.Duration(w.rng.IntN(40_000))*time.Millisecond)
	default:
		w.rest(w.clock.since + time.Duration(w.rng.IntN(15))*time.Minute)
	}
}

// rest lives on until a moment, or until nothing will happen any more.
func (w *world) rest(until time.Duration) {
	passes, at := w.passes, w.clock.since
	for w.broken == nil && w.step(until) {
		if w.clock.since != at {
			passes, at = w.passes, w.clock.since
		}
		if w.passes-passes > restlessAfter {
			w.fail("the planners come to no rest")
		}
	}
}

// heal makes every wish one that can be fulfilled.
func (w *world) heal() {
	if w.broken != nil {
		return
	}
	w.say("HEAL")
	w.quirks, w.killIn = quirks{}, 0
	w.healClock()
	w.healOrphans()
	for i, d := range w.deployments {
		d = d.DeepCopy()
		d.Spec.Paused = false
		d.Annotations = request.With(d.Annotations, request.AnnotationPaused, "")
		if !serves(d.Spec.Template.Spec.Containers[0].Image) {
			w.freshImage(d)
		}
		w.replace(i, d)
	}
	w.release()
	w.healWorkloads()
	w.healStorage()
	w.healConfig()
	for i, p := range w.wishes {
		if kindOf(p.Spec.Containers[0].Image) == imageCrash || kindOf(p.Spec.Containers[0].Image) == imageDone && p.Spec.RestartPolicy == "Always" {
			w.tags++
			p = p.DeepCopy()
			p.Spec.Containers[0].Image = fmt.Sprintf("good:%d", w.tags)
			w.wishes[i] = p
		}
	}
	w.enqueue(w.everything()...)
}

// healTemplate gives a template of a workload a program that serves.
func (w *world) healTemplate(t *corev1.PodTemplateSpec) {
	if !serves(t.Spec.Containers[0].Image) {
		w.tags++
		t.Spec.Containers[0].Image = fmt.Sprintf("good:%d", w.tags)
	}
}

func serves(image string) bool { return kindOf(image) == imageGood || kindOf(image) == imageSlow }

// endBroken ends the pods of an owner that will never serve, as a user does by hand where no template reaches them any more.
func (w *world) endBroken(owner types.UID) {
	for _, p := range slices.Clone(w.podsOf(owner)) {
		if !serves(p.Spec.Containers[0].Image) && isActive(p) {
			w.userEnds(p)
		}
	}
}

// freshImage gives a Deployment an image that serves and was never pulled, and time for init containers that run long.
func (w *world) freshImage(d *appsv1.Deployment) {
	w.tags++
	hour := int32(3600)
	d.Spec.ProgressDeadlineSeconds = &hour
	d.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("good:%d", w.tags)
	w.tried(d.UID)
}

// checkRestart holds that a new controller finds nothing to do on the machine.
func (w *world) checkRestart() {
	calls := len(w.fake.Calls())
	w.say("EVENT the controller is restarted, everything being as wished")
	w.restart()
	w.rest(w.clock.since + healedWithin)
	if w.broken != nil {
		return
	}
	if after := w.fake.Calls(); len(after) > calls {
		w.fail("a restarted controller that finds everything as wished does: %s", after[calls])
	}
	w.checkConverged()
}
