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

	shown string // its name in the store
}

// eventKey is what makes two events one.
type eventKey struct {
	object  reconcile.Key
	uid     types.UID
	reason  string
	message string
}

// events is a bounded list. Events outlive their objects; the ones that happened longest ago go first.
type events struct {
	clock  clock.PassiveClock
	notify *notifier
	store  *store.Store

	showing sync.Mutex // held while one is shown, so that counts only grow
	named   int64      // the last moment that is part of a name
	mu      sync.Mutex
	list    map[eventKey]*Event
}

func newEvents(c clock.PassiveClock, n *notifier, s *store.Store) *events {
	return &events{clock: c, notify: n, store: s, list: map[eventKey]*Event{}}
}

func (e *events) add(a reconcile.RecordEvent) {
	kind := "Normal"
	if a.Warning {
		kind = "Warning"
	}
	now := e.clock.Now()
	e.showing.Lock()
	defer e.showing.Unlock()
	var old []reconcile.Key
	e.mu.Lock()
	k := eventKey{a.Key, a.UID, a.Reason, a.Message}
	ev := e.list[k]
	if ev == nil {
		ev = &Event{Object: a.Key, Name: a.Key.String(), UID: a.UID, Type: kind, Reason: a.Reason, Message: a.Message, First: now, Last: now, shown: e.nameFor(a.Key, now)}
		e.list[k] = ev
		if len(e.list) > maxEvents {
			old = e.shrink()
		}
	}
	ev.Count++
	ev.Last = now
	told := *ev
	e.mu.Unlock()
	for _, key := range old {
		e.store.Delete(key, "")
	}
	e.show(told)
	e.notify.notify()
}

// shrink drops the older tenth at once, so that it costs little per event.
func (e *events) shrink() (gone []reconcile.Key) {
	all := e.sorted()
	for _, ev := range all[:len(all)/10] {
		delete(e.list, eventKey{ev.Object, ev.UID, ev.Reason, ev.Message})
		gone = append(gone, ev.key())
	}
	return gone
}

// tail returns copies of the last n events, the newest last.
func (e *events) tail(n int) []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.sorted()
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
	return c.events.tail(n)
}
