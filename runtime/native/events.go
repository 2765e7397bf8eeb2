package native

import (
	"context"
	"maps"
	"slices"
	"sync"

	"berth/runtime"
)

// hub hands the names of changed pods to whoever listens. It never waits for a listener: names are merged until they are taken.
type hub struct {
	mu   *sync.Mutex // guards subs and what is inside them
	subs map[*listener]struct{}
}

type listener struct {
	uids map[string]struct{}
	wake chan struct{}
}

func newHub() hub { return hub{mu: &sync.Mutex{}, subs: map[*listener]struct{}{}} }

func (h hub) tell(uid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.subs {
		l.uids[uid] = struct{}{}
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

func (h hub) listen(ctx context.Context, handle func(runtime.Event)) error {
	l := &listener{uids: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	h.subs[l] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.subs, l)
		h.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		}
		h.mu.Lock()
		uids := slices.Sorted(maps.Keys(l.uids))
		clear(l.uids)
		h.mu.Unlock()
		for _, uid := range uids {
			handle(runtime.Event{UID: uid})
		}
	}
}

// Events implements runtime.Events.
func (r *Runtime) Events(ctx context.Context, handle func(runtime.Event)) error {
	stop := r.watchClock()
	defer stop()
	return r.events.listen(ctx, handle)
}
