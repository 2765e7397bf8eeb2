package dns

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// key is a question to others, and what makes answers to the same name different.
type key struct {
	name       string
	qtype      uint16
	dnssec, cd bool
}

func (q *question) key(name string) key {
	return key{name: name, qtype: q.qtype, dnssec: q.dnssec, cd: q.flags[1]&flagCheckingDisabled != 0}
}

// upstream asks the machine's servers, each question once at a time, and remembers what they said.
type upstream struct {
	servers func() []netip.AddrPort

	mu    sync.Mutex
	cache cache
	// of are the servers whose answers are remembered. Others may know other names: behind a VPN, in another network.
	of    []netip.AddrPort
	calls map[key]*call
	// slow says until when a server is asked last, because it did not answer.
	slow map[netip.AddrPort]time.Time
}

// call is a question that somebody waits for.
type call struct {
	done chan struct{}
	msg  []byte
}

func newUpstream(servers func() []netip.AddrPort) *upstream {
	return &upstream{servers: servers, cache: cache{}, calls: map[key]*call{}, slow: map[netip.AddrPort]time.Time{}}
}

// cached is an asker that does not wait.
func (u *upstream) cached(k key) ([]byte, bool) {
	servers := u.servers()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.follow(servers)
	msg := u.cache.get(k, time.Now())
	return msg, msg != nil
}

// follow forgets what other servers said.
func (u *upstream) follow(servers []netip.AddrPort) {
	if !slices.Equal(servers, u.of) {
		u.of = slices.Clone(servers)
		clear(u.cache)
		clear(u.slow)
	}
}

// asker is one that waits. Who asks first asks for all.
func (u *upstream) asker(ctx context.Context) asker {
	return func(k key) ([]byte, bool) {
		servers := u.servers()
		u.mu.Lock()
		u.follow(servers)
		if msg := u.cache.get(k, time.Now()); msg != nil {
			u.mu.Unlock()
			return msg, true
		}
		c, asked := u.calls[k]
		if !asked {
			c = &call{done: make(chan struct{})}
			u.calls[k] = c
		}
		u.mu.Unlock()
		if asked {
			select {
			case <-c.done:
			case <-ctx.Done():
				return nil, true
			}
			return slices.Clone(c.msg), true
		}
		if c.msg = u.exchange(ctx, servers, k); c.msg == nil {
			c.msg = k.failure()
		}
		u.mu.Lock()
		if slices.Equal(servers, u.of) {
			u.cache.put(k, c.msg, time.Now())
		}
		delete(u.calls, k)
		u.mu.Unlock()
		close(c.done)
		return slices.Clone(c.msg), true
	}
}

// order is the servers as they are asked: in the order of the configuration, but those that did not answer lately last.
func (u *upstream) order(servers []netip.AddrPort, now time.Time) []netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	var good, bad []netip.AddrPort
	for _, s := range servers {
		if now.Before(u.slow[s]) {
			bad = append(bad, s)
		} else {
			good = append(good, s)
		}
	}
	return append(good, bad...)
}

// noteSlow remembers whether a server answered.
func (u *upstream) noteSlow(server netip.AddrPort, slow bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if slow {
		u.slow[server] = time.Now().Add(slowFor)
	} else {
		delete(u.slow, server)
	}
}
