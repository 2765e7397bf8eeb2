package proxy

import (
	"sync"

	"golang.org/x/sys/unix"
)

// load counts connections, and bounds them by the descriptors that the process may have: what is too much waits to be accepted.
type load struct {
	mu   sync.Mutex
	free sync.Cond // on mu
	open int
	most int
	idle []chan struct{} // closed when there is none
}

const (
	// filesAsked is the limit of open files that the proxy gives itself, as root, where the kernel's own allows it.
	filesAsked = 1 << 20
	// filesPerConnection are two sockets, and a pipe while much is under way.
	filesPerConnection = 3
	// filesReserved are for listening sockets, pipes that are kept, the table, the keeper.
	filesReserved = 512
)

func newLoad() *load {
	var limit unix.Rlimit
	files := uint64(1024)
	for ask := uint64(filesAsked); ask >= files; ask /= 2 {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: ask, Max: ask}) == nil {
			break
		}
	}
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		files = limit.Cur
	}
	l := &load{most: int(max(files, filesReserved+filesPerConnection*64)-filesReserved) / filesPerConnection} //nolint:gosec // bounded above
	l.free.L = &l.mu
	return l
}

// room waits until there is room for another connection.
func (l *load) room() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.open >= l.most {
		l.free.Wait()
	}
}

// full tells that there is no room.
func (l *load) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open >= l.most
}

// take counts one.
func (l *load) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
}

// give ends a connection.
func (l *load) give() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.free.Signal()
	if l.open == 0 {
		for _, c := range l.idle {
			close(c)
		}
		l.idle = nil
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// none is closed when no connection is open.
func (l *load) none() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	if l.open == 0 {
		close(c)
	} else {
		l.idle = append(l.idle, c)
	}
	return c
}
