// Package queue hands names of objects to workers: each name once, never to two workers at a time, now, later, or with growing pauses after failures.
package queue

import (
	"container/heap"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"berth/reconcile"
)

// Pauses after failures: the first is short because most failures are races that the next look settles; the last keeps a broken
// object from costing more than one pass a minute.
const (
	MinBackoff = 5 * time.Millisecond
	MaxBackoff = time.Minute
)

// Queue is a set of keys that are due. client-go's workqueue has the same rules; this one has no heartbeat (theirs wakes the process every
// 10 s) and knows when nothing is left to do.
//
//	Add ──► waiting ──Get──► working ──Done──► (gone)
//	            ▲                 │ Add meanwhile: again
//	 AddAfter ──┴─────────────────┘
type Queue struct {
	clock clock.WithDelayedExecution

	mu       sync.Mutex
	ready    *sync.Cond
	fifo     []reconcile.Key
	waiting  map[reconcile.Key]bool // in fifo, or due again when Done
	working  map[reconcile.Key]bool
	failures map[reconcile.Key]int
	later    timers
	timer    clock.Timer
	idle     []chan struct{} // closed when nothing waits and nobody works
	closed   bool
}

// New returns an empty queue.
func New(c clock.WithDelayedExecution) *Queue {
	q := &Queue{
		clock:    c,
		waiting:  map[reconcile.Key]bool{},
		working:  map[reconcile.Key]bool{},
		failures: map[reconcile.Key]int{},
		later:    timers{index: map[reconcile.Key]*entry{}},
	}
	q.ready = sync.NewCond(&q.mu)
	return q
}

// Add makes a key due now. A key that waits already is not added twice; one that is worked on comes again after Done.
func (q *Queue) Add(keys ...reconcile.Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range keys {
		q.add(k)
	}
}

// AddAfter makes a key due in d, or earlier if that was asked for before. Times set for a key end when work on it begins.
func (q *Queue) AddAfter(key reconcile.Key, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if d <= 0 {
		q.add(key)
		return
	}
	if q.later.set(key, q.clock.Now().Add(d)) {
		q.arm()
	}
}

// AddBackoff makes a key due after a pause that doubles with each failure since the last Forget.
func (q *Queue) AddBackoff(key reconcile.Key) {
	q.mu.Lock()
	n := q.failures[key]
	q.failures[key] = n + 1
	q.mu.Unlock()
	q.AddAfter(key, backoff(n))
}

// Forget ends the count of failures of a key.
func (q *Queue) Forget(key reconcile.Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.failures, key)
}

// Get waits for a key that is due; ok is false when the queue is closed. Done must be called with the key.
func (q *Queue) Get() (key reconcile.Key, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.fifo) == 0 && !q.closed {
		q.ready.Wait()
	}
	if q.closed {
		return reconcile.Key{}, false
	}
	key, q.fifo = q.fifo[0], q.fifo[1:]
	delete(q.waiting, key)
	q.working[key] = true
	q.later.drop(key)
	return key, true
}

// Done ends the work on a key.
func (q *Queue) Done(key reconcile.Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.working, key)
	if q.waiting[key] && !q.closed {
		q.fifo = append(q.fifo, key)
		q.ready.Signal()
	}
	q.wakeIdle()
}

// Close ends all waits. Keys that were due are dropped.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
	q.ready.Broadcast()
}

// Idle returns a channel that is closed as soon as no key is due or worked on. Keys set for later do not count.
func (q *Queue) Idle() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := make(chan struct{})
	q.idle = append(q.idle, c)
	q.wakeIdle()
	return c
}

// Len is the number of keys that are due or worked on.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.fifo) + len(q.working)
}

// Failing is the number of keys that failed last time.
func (q *Queue) Failing() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.failures)
}

func (q *Queue) add(key reconcile.Key) {
	if q.closed || q.waiting[key] {
		return
	}
	q.waiting[key] = true
	if q.working[key] {
		return
	}
	q.fifo = append(q.fifo, key)
	q.ready.Signal()
}

func (q *Queue) wakeIdle() {
	if len(q.fifo) > 0 || len(q.working) > 0 {
		return
	}
	for _, c := range q.idle {
		close(c)
	}
	q.idle = nil
}

// arm sets the one timer to the earliest later time.
func (q *Queue) arm() {
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
	if len(q.later.heap) == 0 || q.closed {
		return
	}
	q.timer = q.clock.AfterFunc(q.later.heap[0].at.Sub(q.clock.Now()), q.fire)
}

func (q *Queue) fire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	for len(q.later.heap) > 0 && !q.later.heap[0].at.After(now) {
		key := q.later.heap[0].key
		q.later.drop(key)
		q.add(key)
	}
	q.arm()
}

func backoff(failures int) time.Duration {
	d := MinBackoff
	for range failures {
		if d *= 2; d >= MaxBackoff {
			return MaxBackoff
		}
	}
	return d
}

// timers is a heap of later times with one entry for each key.
type timers struct {
	heap  entries
	index map[reconcile.Key]*entry
}

type entry struct {
	key reconcile.Key
	at  time.Time
	pos int
}

// set reports whether the earliest time of all has changed.
func (t *timers) set(key reconcile.Key, at time.Time) bool {
	if e := t.index[key]; e != nil {
		if !at.Before(e.at) {
			return false
		}
		e.at = at
		heap.Fix(&t.heap, e.pos)
		return e.pos == 0
	}
	e := &entry{key: key, at: at}
	t.index[key] = e
	heap.Push(&t.heap, e)
	return e.pos == 0
}

func (t *timers) drop(key reconcile.Key) {
	if e := t.index[key]; e != nil {
		heap.Remove(&t.heap, e.pos)
		delete(t.index, key)
	}
}

type entries []*entry

func (h entries) Len() int           { return len(h) }
func (h entries) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h entries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *entries) Push(x any) { e := x.(*entry); e.pos = len(*h); *h = append(*h, e) }
func (h *entries) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}
