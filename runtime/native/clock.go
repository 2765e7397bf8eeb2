package native

import (
	"sync"

	"berth/runtime/internal/sys"
)

// watchClock asks for a look at everything whenever the machine's clock was set: what waits for a time of day would otherwise come late. The
// returned function ends it.
func (r *Runtime) watchClock() (stop func()) {
	w, err := sys.WatchClock()
	if err != nil {
		return func() {} // then the next full look finds out
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		for w.Wait() == nil {
			r.events.tell("")
		}
	})
	return func() {
		_ = w.Close()
		watching.Wait()
	}
}
