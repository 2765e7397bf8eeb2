package api

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"

	"berth/controller/store"
	"berth/reconcile"
)

const (
	// remembered is how many changes can be watched from afterwards. Objects share what did not change with their predecessors, so a change costs a kilobyte or two.
	remembered = 4096
	// encoded is for how many changes the bytes are kept: who watches has read them long before so many more have come, and all of them would be 20 MB of pods.
	encoded = 128
)

// history is the last changes of the store, in order. Watches read it at their own pace, each from where it is: none has a buffer of its own, and a slow one that
// falls out of the history is told to list again.
type history struct {
	mu      sync.Mutex
	ring    []*entry // a ring once it is full
	next    int      // of the ring: where the next entry goes
	first   uint64   // changes up to this version are not remembered
	last    uint64
	waiting map[string]chan struct{} // by kind; closed at the next change of it
	told    *sync.Cond               // something was added
	clock   clock.WithDelayedExecution
	marks   chan struct{} // closed when bookmarks are due; nil when nobody waits for one
	marking bool          // the time to it runs
}

// markEvery is how soon after a change those who watch something else are told that they have missed nothing.
const markEvery = time.Minute

// entry is as much of a change as is told. What it looks like on the wire is made once for all who watch.
type entry struct {
	Key      reconcile.Key
	Version  uint64
	Old, New store.Object
	wire     atomic.Pointer[line]
}

// line is a change as it is sent: what type it is depends on who watches.
type line struct {
	kind watch.EventType
	text []byte
}

func newHistory(s *store.Store, c clock.WithDelayedExecution) *history {
	v := s.Version()
	h := &history{clock: c, first: v, last: v, waiting: map[string]chan struct{}{}}
	h.told = sync.NewCond(&h.mu)
	s.Watch(h.add)
	return h
}

// add is called by the store, in the order of versions.
func (h *history) add(c store.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &entry{Key: c.Key, Version: c.Version, Old: c.Old, New: c.New}
	if len(h.ring) < remembered {
		h.ring = append(h.ring, e)
	} else {
		h.first = h.ring[h.next].Version
		h.ring[h.next] = e
		h.next = (h.next + 1) % remembered
	}
	if n := len(h.ring); n > encoded {
		h.at(n - 1 - encoded).wire.Store(nil)
	}
	h.last = c.Version
	h.told.Broadcast()
	h.arm()
	if w := h.waiting[c.Key.Kind]; w != nil {
		close(w)
		delete(h.waiting, c.Key.Kind)
	}
}

// mark is closed some time after the next change of anything. On a quiet machine no timer runs.
func (h *history) mark() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.marks == nil {
		h.marks = make(chan struct{})
	}
	return h.marks
}

func (h *history) arm() {
	if h.marks == nil || h.marking {
		return
	}
	h.marking = true
	h.clock.AfterFunc(markEvery, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		close(h.marks)
		h.marks, h.marking = nil, false
	})
}

// since returns the changes of a kind after a version, and the version up to which there is nothing more; ok is false when the history does not reach back that far.
// changed is closed at the next change of the kind.
func (h *history) since(kind string, version uint64) (list []*entry, upTo uint64, changed <-chan struct{}, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if version < h.first {
		return nil, 0, nil, false
	}
	for i := h.seek(version); i < len(h.ring); i++ {
		if e := h.at(i); e.Key.Kind == kind {
			list = append(list, e)
		}
	}
	w := h.waiting[kind]
	if w == nil {
		w = make(chan struct{})
		h.waiting[kind] = w
	}
	return list, max(h.last, version), w, true
}

// at is the i-th entry, oldest first.
func (h *history) at(i int) *entry { return h.ring[(h.next+i)%len(h.ring)] }

// seek finds the first entry after a version.
func (h *history) seek(version uint64) int {
	lo, hi := 0, len(h.ring)
	for lo < hi {
		mid := (lo + hi) / 2
		if h.at(mid).Version > version {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// back takes what changed after a version out of a newer picture of a kind; ok is false when the history does not reach back that far.
func (h *history) back(kind string, list []store.Item, from, to uint64) (_ []store.Item, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.last < from { // the store tells a change right after it can be seen
		h.told.Wait()
	}
	if to < h.first {
		return nil, false
	}
	undone := map[reconcile.Key]store.Object{}
	for i := len(h.ring) - 1; i >= 0 && h.at(i).Version > to; i-- {
		if e := h.at(i); e.Key.Kind == kind && e.Version <= from {
			undone[e.Key] = e.Old
		}
	}
	if len(undone) == 0 {
		return list, true
	}
	var out []store.Item
	for _, it := range list {
		if _, changed := undone[it.Key]; !changed {
			out = append(out, it)
		}
	}
	for key, obj := range undone {
		if obj != nil {
			out = append(out, store.Item{Key: key, Object: obj})
		}
	}
	sortItems(out)
	return out, true
}

func sortItems(list []store.Item) {
	slices.SortFunc(list, func(a, b store.Item) int {
		return cmp.Or(cmp.Compare(a.Key.Namespace, b.Key.Namespace), cmp.Compare(a.Key.Name, b.Key.Name))
	})
}
