package controller

import (
	"math/rand/v2"
	"sync"
)

// maxWarnings bounds what is kept of damage reports.
const maxWarnings = 20

func randomNonce() uint64 { return rand.Uint64() }

// notifier tells readers that the status is another one now. Readers that are slow miss steps, not the end.
type notifier struct {
	mu   sync.Mutex
	subs map[chan struct{}]struct{}
}

func newNotifier() *notifier { return &notifier{subs: map[chan struct{}]struct{}{}} }

func (n *notifier) notify() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.subs {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (n *notifier) subscribe() (c <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.subs[ch] = struct{}{}
	return ch, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.subs, ch)
	}
}

// Changes returns a channel that gets a value now and after every change of what Status returns; changes are merged while nobody reads. cancel
// ends it; the channel is never closed.
func (c *Controller) Changes() (changes <-chan struct{}, cancel func()) { return c.notify.subscribe() }
