package controller

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"berth/controller/store"
	"berth/reconcile"
)

// maxEvents bounds the list: about what a day of a busy machine leaves after merging; 300 bytes each.
const maxEvents = 1000

// Event is something that happened to an object, as often as Count says.
type Event struct {
	Object  reconcile.Key `json:"-"`
	Name    string        `json:"object"` // KIND/NAMESPACE/NAME
	UID     types.UID     `json:"uid,omitempty"`
	Type    string        `json:"type"` // Normal or Warning
	Reason  string        `json:"reason"`
	Message string        `json:"message"`
	Count   int           `json:"count"`
	First   time.Time     `json:"firstTimestamp"`
	Last    time.Time     `json:"lastTimestamp"`

	id      eventKey
	shown   string    // its name in the store
	showed  time.Time // when it was last shown
	routine bool      // RecordEvent.Routine
}

// eventKey is what makes two events one.
type eventKey struct {
	family
	message string
}

// family are the events of an object that differ in their words only.
type family struct {
	object reconcile.Key
	uid    types.UID
	reason string
}

// kin is what is known of a family: how many of it are told one by one, and when the last came.
type kin struct {
	members int
	last    time.Time
}

// As client-go does it: ten of a family within ten minutes are told one by one, the others together. A Deployment of 1,000 pods tells of eleven things, not of a thousand.
const (
	maxKin   = 10
	kinFor   = 10 * time.Minute
	combined = "(combined from similar events): "
)

// showEvery is how soon one that is told for many is shown again, with the first event of any kind from then on: a thousand pods that are made at once are a thousand
// versions of it otherwise, which every watch and the history of the API have to take.
const showEvery = time.Second

// events is a bounded list. Events outlive their objects; the ones that happened longest ago go first, and what went well before what did not.
type events struct {
	clock  clock.PassiveClock
	notify *notifier
	store  *store.Store
	steps  steps

	showing  sync.Mutex // held while one is shown, so that counts only grow
	named    int64      // the last moment that is part of a name
	mu       sync.Mutex
	list     map[eventKey]*Event
	families map[family]*kin
	late     map[*Event]struct{} // have happened more often than is shown
}

func newEvents(c clock.PassiveClock, n *notifier, s *store.Store) *events {
	return &events{clock: c, notify: n, store: s, steps: newSteps(c), list: map[eventKey]*Event{}, families: map[family]*kin{}, late: map[*Event]struct{}{}}
}

// add tells of something at once.
func (e *events) add(a reconcile.RecordEvent) {
	e.record(a, e.clock.Now())
	e.notify.notify()
}

func (e *events) record(a reconcile.RecordEvent, now time.Time) {
	e.showing.Lock()
	defer e.showing.Unlock()
	e.mu.Lock()
	id, message := e.identify(a, now)
	var old []reconcile.Key
	ev := e.list[id]
	if ev == nil {
		kind := "Normal"
		if a.Warning {
			kind = "Warning"
		}
		ev = &Event{Object: a.Key, Name: a.Key.String(), UID: a.UID, Type: kind, Reason: a.Reason, First: now, Last: now, id: id, shown: e.nameFor(a.Key, now), routine: a.Routine}
		e.list[id] = ev
		if len(e.list) > maxEvents {
			old = e.shrink()
		}
	}
	ev.Message = message
	ev.Count++
	ev.Last = now
	e.late[ev] = struct{}{}
	due := e.due(now)
	e.mu.Unlock()
	for _, key := range old {
		e.store.Delete(key, "")
	}
	for _, ev := range due {
		e.show(ev)
	}
}

// due takes out of the late ones those that are to be shown now. The caller holds the lock.
func (e *events) due(now time.Time) (due []Event) {
	for ev := range e.late {
		if ev.id.message == combined && now.Sub(ev.showed) < showEvery {
			continue
		}
		delete(e.late, ev)
		due = append(due, *ev)
		ev.showed = now
	}
	return due
}

// identify finds what an event is told as: itself, or one with others of its family.
func (e *events) identify(a reconcile.RecordEvent, now time.Time) (id eventKey, message string) {
	id = eventKey{family{a.Key, a.UID, a.Reason}, a.Message}
	k := e.families[id.family]
	if k == nil {
		k = &kin{}
		e.families[id.family] = k
	}
	if now.Sub(k.last) > kinFor {
		k.members = 0
	}
	k.last = now
	if e.list[id] != nil {
		return id, a.Message
	}
	if k.members++; k.members > maxKin {
		id.message = combined
		return id, combined + a.Message
	}
	return id, a.Message
}

// shrink drops the older tenth at once, so that it costs little per event: of what went well, while that has half of the list.
func (e *events) shrink() (gone []reconcile.Key) {
	all := e.sorted()
	n := len(all) / 10
	if normal := slices.DeleteFunc(slices.Clone(all), func(ev *Event) bool { return ev.Type != "Normal" }); len(normal) > maxEvents/2 {
		all = normal
	}
	for _, ev := range all[:n] {
		delete(e.list, ev.id)
		delete(e.late, ev)
		delete(e.families, ev.id.family)
		gone = append(gone, ev.key())
	}
	return gone
}

// forget drops an event that somebody deletes, also one that a client has told of. When it happens again it is another one.
func (e *events) forget(key reconcile.Key) {
	e.showing.Lock()
	defer e.showing.Unlock()
	e.mu.Lock()
	for id, ev := range e.list {
		if ev.key() == key {
			delete(e.list, id)
			delete(e.late, ev)
		}
	}
	e.mu.Unlock()
	e.store.Delete(key, "")
}

// tail returns copies of the last n events, the newest last. Steps that every pod takes are left out where routine is false.
func (e *events) tail(n int, routine bool) []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.sorted()
	if !routine {
		all = slices.DeleteFunc(all, func(ev *Event) bool { return ev.routine })
	}
	all = all[max(0, len(all)-n):]
	out := make([]Event, len(all))
	for i, ev := range all {
		out[i] = *ev
	}
	return out
}

func (e *events) sorted() []*Event {
	all := make([]*Event, 0, len(e.list))
	for _, ev := range e.list {
		all = append(all, ev)
	}
	slices.SortFunc(all, func(a, b *Event) int {
		return cmp.Or(a.Last.Compare(b.Last), a.First.Compare(b.First), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	return all
}

// Events returns the last n events, the newest last; n <= 0 means all. They are kept for deleted objects, too.
func (c *Controller) Events(n int) []Event {
	if n <= 0 {
		n = maxEvents
	}
	return c.events.tail(n, true)
}
