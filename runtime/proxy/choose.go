package proxy

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"berth/runtime"
)

// chooser leads connections to backends, each in turn, and away from those that do not answer.
type chooser struct {
	mu         sync.Mutex
	settled    sync.Cond // on mu: a dialing has ended
	backends   []netip.AddrPort
	only       []runtime.BackendSources
	affinity   time.Duration
	generation int
	dials      map[*dialing]struct{}
	turn       int
	failed     map[netip.AddrPort]time.Time
	clients    map[netip.Addr]loyalty
}

// loyalty is the backend that a client had.
type loyalty struct {
	backend netip.AddrPort
	last    time.Time
}

const (
	// failedFor is how long a backend that did not answer is asked last.
	failedFor = 5 * time.Second
	// clientsMost bounds what is remembered of clients: some 8 MB.
	clientsMost = 1 << 16
)

func newChooser() *chooser {
	c := &chooser{dials: map[*dialing]struct{}{}, failed: map[netip.AddrPort]time.Time{}, clients: map[netip.Addr]loyalty{}}
	c.settled.L = &c.mu
	return c
}

// replace changes the backends and returns when none of the old ones is being connected to by the old choice.
func (c *chooser) replace(backends []netip.AddrPort, affinity time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Equal(c.backends, backends) && c.affinity == affinity {
		return
	}
	c.backends, c.affinity = backends, affinity
	clear(c.failed)
	c.renew()
}

// renew makes everybody choose again. The lock is held.
func (c *chooser) renew() {
	c.generation++
	for d := range c.dials {
		d.giveUp()
	}
	for c.pending() {
		c.settled.Wait()
	}
}

func (c *chooser) pending() bool {
	for d := range c.dials {
		if d.generation < c.generation {
			return true
		}
	}
	return false
}

// errNoBackend: there is none, or none answers.
var errNoBackend = errors.New("no backend answers")

// connect returns a connection to a backend for a client, which the backend is shown as; the zero value as the machine.
func (c *chooser) connect(client, shown netip.Addr) (*conn, error) {
	for {
		d, order := c.begin(client)
		var got *conn
		var to netip.AddrPort
		var err error
		for _, to = range order {
			if got, err = d.dial(to, shown); err == nil || errors.Is(err, errGivenUp) {
				break
			}
			c.fail(to)
		}
		again := c.end(d, client, to, got != nil)
		switch {
		case got != nil:
			return got, nil
		case !again:
			return nil, errNoBackend
		}
	}
}

// pick is the backend for a client with which no connection is made.
func (c *chooser) pick(client netip.Addr) (netip.AddrPort, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	order := c.order(client)
	if len(order) == 0 {
		return netip.AddrPort{}, false
	}
	c.remember(client, order[0])
	return order[0], true
}

// begin says in which order to try.
func (c *chooser) begin(client netip.Addr) (*dialing, []netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &dialing{generation: c.generation}
	c.dials[d] = struct{}{}
	return d, c.order(client)
}

// order is all backends that the client may be led to, the chosen one first. The lock is held.
func (c *chooser) order(client netip.Addr) []netip.AddrPort {
	n := len(c.backends)
	if n == 0 {
		return nil
	}
	first, loyal := c.had(client)
	if !loyal { // who stays takes nobody's turn, or clients that come three times each would all get one of three
		c.turn = (c.turn + 1) % n
		first = c.turn
	}
	order := append(append(make([]netip.AddrPort, 0, n), c.backends[first:]...), c.backends[:first]...)
	if len(c.failed) > 0 {
		now := time.Now()
		rest := order
		if loyal {
			rest = order[1:]
		}
		slices.SortStableFunc(rest, func(a, b netip.AddrPort) int { return c.bad(a, now) - c.bad(b, now) })
	}
	return c.admitting(client, order)
}

// had is the index of the backend that a client is to stay with. The lock is held.
func (c *chooser) had(client netip.Addr) (int, bool) {
	l, ok := c.clients[client]
	if c.affinity == 0 || !ok || time.Since(l.last) >= c.affinity {
		return 0, false
	}
	i := slices.Index(c.backends, l.backend)
	return i, i >= 0
}

func (c *chooser) bad(a netip.AddrPort, now time.Time) int {
	if at, ok := c.failed[a]; ok && now.Sub(at) < failedFor {
		return 1
	}
	return 0
}

func (c *chooser) fail(a netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.backends, a) {
		c.failed[a] = time.Now()
	}
}

// end finishes a dialing; again tells that the backends have changed meanwhile.
func (c *chooser) end(d *dialing, client netip.Addr, to netip.AddrPort, ok bool) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.dials, d)
	c.settled.Broadcast()
	if ok {
		delete(c.failed, to)
		c.remember(client, to)
	}
	return d.generation != c.generation
}

// remember notes the backend of a client, when clients are to be kept. The lock is held.
func (c *chooser) remember(client netip.Addr, to netip.AddrPort) {
	if c.affinity == 0 {
		clear(c.clients)
		return
	}
	now := time.Now()
	if len(c.clients) >= clientsMost {
		for a, l := range c.clients {
			if now.Sub(l.last) >= c.affinity {
				delete(c.clients, a)
			}
		}
		for a := range c.clients { // all are of late: any one goes
			if len(c.clients) < clientsMost {
				break
			}
			delete(c.clients, a)
		}
	}
	c.clients[client] = loyalty{to, now}
}
