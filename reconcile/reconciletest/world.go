// Package reconciletest runs the planners in a world of its own: a store and a machine in memory, a clock that only moves when nothing is
// left to do, and faults drawn from a seed. The same seed gives the same life, step by step.
package reconciletest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/request"
	"berth/runtime"
	"berth/runtime/runtimetest"
)

const namespace = "sim"

// kindGC names the pass that looks for objects without owners.
const kindGC = "GC"

// world is everything of one seed.
type world struct {
	rng   *rand.Rand
	clock *clock
	fake  *runtimetest.Fake

	// What is stated, and what the planners made of it.
	deployments []*appsv1.Deployment
	wishes      []*corev1.Pod
	sets        []*appsv1.ReplicaSet
	pods        []*corev1.Pod
	objects     []reconcile.Object // of all other kinds
	kinds       map[string]*kind
	stated      []*kind                       // those that files state
	tries       map[types.UID]int             // pods ever made, by Job
	used        map[types.UID]map[string]bool // names of Jobs ever made, by CronJob
	retention   map[string]retention          // by name of StatefulSets
	configs     map[string]string             // what ConfigMaps say
	contents    config.Contents               // the same, as planners are told
	lastUID     int
	nonce       uint64

	// Who belongs to whom; stale when it has to be found out anew.
	known index
	stale bool

	// What a controller has in memory.
	images map[string]reconcile.ImageState
	memory map[types.UID]*reconcile.PodMemory
	due    []reconcile.Key
	timers map[reconcile.Key]time.Duration // since the beginning

	// What the world holds ready.
	agenda   []appointment
	lives    map[lifeID]*life
	families map[string]*family
	ends     map[types.UID]ending
	former   map[string][]corev1.PodTemplateSpec // by Deployment UID
	versions map[types.UID]*version              // by Deployment UID
	quirks   quirks
	asked    map[string]asked // by pod and image: what this controller last asked for
	born     map[types.UID]int
	arrived  map[string]time.Duration // by image: when it last came
	data     storage
	traffic  *traffic // nil for a world without
	orphans  *orphans // nil for a world without
	killIn   int      // the controller dies before so many more actions

	named, tags                int
	passes, actions, scheduled int
	happened, moments          int
	holds                      map[string]request.Hold // by their text
	labels                     map[*byte]*corev1.Pod   // by the first byte of the label
	trace                      []string
	tracing                    bool
	broken                     error
}

// asked is a pull. Jumps is how often the clock had been set when the pod was made, or when a pull too many was last excused by that: by
// the clock on the wall, what came after the pod can look as if it had come before.
type asked struct {
	at    time.Duration
	jumps int
}

// appointment is something that happens by itself, later.
type appointment struct {
	at   time.Duration
	seq  int
	what func()
}

// quirks are faults that are under way.
type quirks struct {
	pullsFail   bool
	startsFail  int // so many starts
	sandboxFail int
}

// clock has two faces: the wall, which can be set, and the time that really passes.
type clock struct {
	wall  time.Time
	since time.Duration
	jumps int
	// latest is the latest time on the wall from which it was set.
	latest time.Time
}

// Now implements runtimetest.Clock.
func (c *clock) Now() time.Time { return c.wall }

func (c *clock) advance(d time.Duration) {
	c.wall = c.wall.Add(d)
	c.since += d
}

func newWorld(seed uint64, tracing bool) *world {
	w := &world{
		rng:      rand.New(rand.NewPCG(seed, 0x6265727468)),
		clock:    &clock{wall: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
		images:   map[string]reconcile.ImageState{},
		memory:   map[types.UID]*reconcile.PodMemory{},
		timers:   map[reconcile.Key]time.Duration{},
		lives:    map[lifeID]*life{},
		families: map[string]*family{},
		ends:     map[types.UID]ending{},
		asked:    map[string]asked{},
		born:     map[types.UID]int{},
		arrived:  map[string]time.Duration{},
		former:   map[string][]corev1.PodTemplateSpec{},
		versions: map[types.UID]*version{},
		holds:    map[string]request.Hold{},
		labels:   map[*byte]*corev1.Pod{},
		kinds:    map[string]*kind{},
		tries:    map[types.UID]int{},
		used:     map[types.UID]map[string]bool{},
		data:     newStorage(),

		retention: map[string]retention{},
		configs:   map[string]string{},
		contents:  config.Contents{},
		tracing:   tracing,
	}
	for _, k := range kinds() {
		w.kinds[k.name] = k
		if k.make != nil {
			w.stated = append(w.stated, k)
		}
	}
	if seed%4 == 0 {
		w.traffic = newTraffic(seed)
	}
	if seed%8 == 3 {
		w.orphans = newOrphans(seed)
	}
	w.fake = runtimetest.New(w.clock)
	if w.traffic != nil && w.traffic.dual != nil {
		w.fake.HaveIPv6()
	}
	w.fake.OnStart(w.beforeStart)
	w.fake.OnSandbox(func(runtime.SandboxConfig) error {
		if w.quirks.sandboxFail > 0 {
			w.quirks.sandboxFail--
			return fmt.Errorf("no address is free")
		}
		return nil
	})
	return w
}

// say adds a line to the trace. Formatting is paid for only when somebody reads it.
func (w *world) say(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%10s  ", w.clock.since.Truncate(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

// fail keeps the first thing that went wrong.
func (w *world) fail(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
		w.say("BROKEN: %v", w.broken)
	}
}

func (w *world) newUID() types.UID {
	w.lastUID++
	return types.UID(fmt.Sprintf("u%d", w.lastUID))
}

// enqueue makes keys due; a key that is due stays so once.
func (w *world) enqueue(keys ...reconcile.Key) {
	for _, k := range keys {
		if !slices.Contains(w.due, k) {
			w.due = append(w.due, k)
		}
	}
}

func (w *world) later(d time.Duration, what func()) {
	w.scheduled++
	w.agenda = append(w.agenda, appointment{at: w.clock.since + d, seq: w.scheduled, what: what})
}

func key(kind, name string) reconcile.Key {
	return reconcile.Key{Kind: kind, Namespace: namespace, Name: name}
}

var gcKey = key(kindGC, "")

func podKey(p *corev1.Pod) reconcile.Key { return key(reconcile.KindPod, p.Name) }

func find[T interface{ GetName() string }](list []T, name string) (T, int) {
	for i, o := range list {
		if o.GetName() == name {
			return o, i
		}
	}
	var none T
	return none, -1
}

func (w *world) podByUID(uid types.UID) *corev1.Pod {
	for _, p := range w.pods {
		if p.UID == uid {
			return p
		}
	}
	return nil
}

func (w *world) setByUID(uid types.UID) *appsv1.ReplicaSet {
	for _, s := range w.sets {
		if s.UID == uid {
			return s
		}
	}
	return nil
}

func ownerUID(owners []metav1.OwnerReference) types.UID {
	for i := range owners {
		if r := &owners[i]; r.Controller != nil && *r.Controller {
			return r.UID
		}
	}
	return ""
}

// memoryOf is what the controller remembers of a pod.
func (w *world) memoryOf(uid types.UID) *reconcile.PodMemory {
	m := w.memory[uid]
	if m == nil {
		m = &reconcile.PodMemory{Failed: map[string]reconcile.StartFailure{}, Signalled: map[string]reconcile.Signalled{}}
		w.memory[uid] = m
	}
	return m
}

// step handles one due key, or lets time pass to the next thing that happens. It reports false when nothing will ever happen.
func (w *world) step(until time.Duration) bool {
	if len(w.due) > 0 {
		i := w.rng.IntN(len(w.due))
		k := w.due[i]
		w.due = slices.Delete(w.due, i, i+1)
		w.pass(k)
		return true
	}
	w.checkIdle()
	next, ok := w.nextMoment()
	if !ok || next > until {
		if until > w.clock.since && until < forever {
			w.clock.advance(until - w.clock.since)
		}
		return false
	}
	w.clock.advance(max(0, next-w.clock.since))
	w.happen()
	return true
}

const forever = time.Duration(1<<63 - 1)

func (w *world) nextMoment() (time.Duration, bool) {
	next, ok := forever, false
	for _, at := range w.timers {
		next, ok = min(next, at), true
	}
	for _, a := range w.agenda {
		next, ok = min(next, a.at), true
	}
	return next, ok
}

// happen runs what is due at this moment, in a fixed order.
func (w *world) happen() {
	now := w.clock.since
	var ready []appointment
	w.agenda = slices.DeleteFunc(w.agenda, func(a appointment) bool {
		if a.at <= now {
			ready = append(ready, a)
		}
		return a.at <= now
	})
	slices.SortFunc(ready, func(a, b appointment) int { return a.seq - b.seq })
	for _, a := range ready {
		a.what()
	}
	var keys []reconcile.Key
	for k, at := range w.timers {
		if at <= now {
			keys = append(keys, k)
			delete(w.timers, k)
		}
	}
	slices.SortFunc(keys, func(a, b reconcile.Key) int { return strings.Compare(a.String(), b.String()) })
	w.enqueue(keys...)
}
