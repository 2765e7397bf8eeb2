package image

import (
	"context"
	"slices"
	"sync"
)

const (
	// pullsOfHost is how many pulls one registry has at once: more do not fill a line better, and registries limit clients that ask for much at a time.
	pullsOfHost = 3
	// pullsInAll is from how many on no registry begins a second or third one. Each takes some MB while it is unpacked, and a processor. A registry's first one
	// is not held back by others: who does not answer takes nothing from those that do.
	pullsInAll = 6
)

// turns says whose pull is next. Those of one registry are served in the order in which they came, and of several registries that can go on the one that has
// the fewest.
type turns struct {
	mu      sync.Mutex
	running map[string]int // by host
	all     int
	waiting []*turn
}

type turn struct {
	host string
	come chan struct{} // closed when it is
}

// take waits for a turn at a host. Who has had it calls done.
func (t *turns) take(ctx context.Context, host string) (done func(), err error) {
	mine := &turn{host, make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, mine)
	t.next()
	t.mu.Unlock()
	select {
	case <-mine.come:
		return func() { t.end(mine) }, nil
	case <-ctx.Done():
		t.end(mine)
		return nil, context.Cause(ctx)
	}
}

// end gives a turn back, or no longer waits for it.
func (t *turns) end(mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, mine); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return
	}
	t.all--
	if t.running[mine.host]--; t.running[mine.host] == 0 {
		delete(t.running, mine.host)
	}
	t.next()
}

// next gives the turns that can be given. t.mu is held.
func (t *turns) next() {
	for {
		best := -1
		for i, w := range t.waiting {
			n := t.running[w.host]
			if may := n == 0 || n < pullsOfHost && t.all < pullsInAll; may && (best < 0 || n < t.running[t.waiting[best].host]) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		given := t.waiting[best]
		t.waiting = slices.Delete(t.waiting, best, best+1)
		t.running[given.host]++
		t.all++
		close(given.come)
	}
}
