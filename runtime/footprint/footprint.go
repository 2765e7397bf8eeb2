// Package footprint keeps small what a process holds of the machine's memory.
package footprint

import (
	"math"
	goruntime "runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"berth/runtime/footprint/pages"
)

const (
	// calm is how long after a collection without another one what was done is over for now.
	calm = 3 * time.Second
	// often is how soon pages of the program are given back again.
	often = time.Second
	// little is what a process that has nothing to do allocates between two collections of which nobody but Go's clock is the reason.
	little = 512 << 10
)

// Tend keeps the process small from now on, when it begins to serve. The garbage collector comes when two fifths of what is in use have been thrown away, not when as much as is in use
// has been; but while little is in use it waits for that much garbage, in bytes. With a collection the pages of the program go back to the kernel, and when
// none has come for some seconds, the garbage and what it lay in, too. All this hangs on collections, so a process that has nothing to do is not woken.
func Tend(garbage uint64) {
	t := &tended{garbage: garbage, percent: 100}
	t.over = time.AfterFunc(calm, letGo) // of what was needed to start
	t.allocated = look().allocated
	pages.LetGo()
	t.await()
}

// tended is a process.
type tended struct {
	garbage uint64
	over    *time.Timer

	mu        sync.Mutex
	percent   int
	allocated uint64 // in all, when it was last looked at
	gave      time.Time
}

// await is called again after the next collection.
func (t *tended) await() {
	goruntime.AddCleanup(new([64]byte), func(t *tended) {
		t.collected(look(), time.Now()) //nolint:forbidigo // how often pages are given back; nothing is decided by it
		t.await()
	}, t)
}

// collected adjusts when the next collection comes, and lets go of what the time before this one has left, unless nothing was done then.
func (t *tended) collected(m memory, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	percent := garbagePercent(m.live, t.garbage)
	if d := percent - t.percent; d > 9 || d < -9 { // each change stops all for a moment
		t.percent = percent
		debug.SetGCPercent(percent)
	}
	did := m.allocated - t.allocated
	t.allocated = m.allocated
	if did < little {
		return
	}
	t.over.Reset(calm)
	if now.Sub(t.gave) >= often {
		t.gave = now
		pages.LetGo()
	}
}

func letGo() {
	debug.FreeOSMemory()
	pages.LetGo()
}

func garbagePercent(live, garbage uint64) int {
	return int(max(40, min(400, garbage*100/max(live, 1))))
}

// memory is what the runtime says of the heap, in bytes.
type memory struct{ live, allocated uint64 }

func look() memory {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 || s[1].Value.Kind() != metrics.KindUint64 {
		return memory{live: math.MaxInt64} // another Go than this one
	}
	return memory{s[0].Value.Uint64(), s[1].Value.Uint64()}
}
