package controller

import (
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"berth/reconcile"
)

// How much is remembered: what a rollout of a few hundred pods leaves, some 200 bytes for each decision and 1 kB for each pod.
const (
	maxDecisions = 4000
	maxGone      = 300
)

// decision is one effect of a pass: what was done about an object, and what came of it.
type decision struct {
	key    reconcile.Key
	action string
	at     time.Time
	fault  string // of the machine or of a registry; "" when it was done
}

// gonePod is a pod as it was last.
type gonePod struct {
	pod   *corev1.Pod
	owner reconcile.Key
	at    time.Time
}

// diary remembers what was decided and which pods there were, for `berth why`. It is lost with the process: what counts is in the objects.
type diary struct {
	clock clock.PassiveClock

	mu        sync.Mutex
	decisions []decision // the newest last
	gone      []gonePod
	above     map[reconcile.Key]reconcile.Key // the owners of ReplicaSets that are gone, of which pods may still be ending
}

func newDiary(c clock.PassiveClock) *diary {
	return &diary{clock: c, above: map[reconcile.Key]reconcile.Key{}}
}

func (d *diary) decided(key reconcile.Key, a reconcile.Action, err error) {
	if verbosity(a) > 0 && err == nil {
		return
	}
	e := decision{key: key, action: a.String(), at: d.clock.Now()}
	if err != nil {
		e.fault = firstLine(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.decisions) - 1; n >= 0 && d.decisions[n].key == e.key && d.decisions[n].action == e.action && d.decisions[n].fault == e.fault {
		d.decisions[n].at = e.at // tried again
		return
	}
	d.decisions = bounded(append(d.decisions, e), maxDecisions)
}

// orphaned is told of each owner of pods that goes, and of its own.
func (d *diary) orphaned(key, owner reconcile.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.above) >= maxGone {
		clear(d.above)
	}
	d.above[key] = owner
}

func (d *diary) buried(pod *corev1.Pod, owner reconcile.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if above, ok := d.above[owner]; ok {
		owner = above
	}
	d.gone = bounded(append(d.gone, gonePod{pod, owner, d.clock.Now()}), maxGone)
}

// bounded drops the older tenth at once when a list has become too long, so that it costs little each time.
func bounded[T any](list []T, most int) []T {
	if len(list) <= most {
		return list
	}
	return slices.Delete(list, 0, most/10)
}

// about are the last n decisions about any of the keys, the newest last.
func (d *diary) about(n int, keys ...reconcile.Key) []decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []decision
	for i := len(d.decisions) - 1; i >= 0 && len(out) < n; i-- {
		e := &d.decisions[i]
		if slices.ContainsFunc(keys, func(k reconcile.Key) bool { return e.key == k || mentions(e.action, k.String()) }) {
			out = append(out, *e)
		}
	}
	slices.Reverse(out)
	return out
}

// mentions tells whether a text has a name, and not only the beginning of a longer one.
func mentions(text, name string) bool {
	_, rest, ok := strings.Cut(text, name)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], " ,:"))
}

// past are pods that are gone, the newest last.
func (d *diary) past(is func(*gonePod) bool) []gonePod {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []gonePod
	for i := range d.gone {
		if is(&d.gone[i]) {
			out = append(out, d.gone[i])
		}
	}
	return out
}
