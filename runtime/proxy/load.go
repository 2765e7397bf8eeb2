package proxy

import (
	"sync"

	"golang.org/x/sys/unix"
)

// load counts connections, and bounds them by the descriptors that the process may have, and by the machine's memory: what is too much waits to be accepted. Each port has a share of it.
type load struct {
	mu      sync.Mutex
	free    sync.Cond // on mu
	waiting int       // for free
	open    int
	most    int
	idle    []chan struct{} // closed when there is none
}

const (
	// filesAsked is the limit of open files that the proxy gives itself, as root, where the kernel's own allows it.
	filesAsked = 1 << 20
	// filesPerConnection are two sockets, and a pipe while much is under way.
	filesPerConnection = 3
	// filesReserved are for listening sockets, pipes that are kept, the table, the keeper.
	filesReserved = 512
	// bytesPerConnection are those of one over which nothing goes: 12 KB here, and the kernel's sockets. All together may take a fourth of the machine's memory.
	bytesPerConnection, memoryParts = 16 << 10, 4
	// leastConnections there are however small the machine is.
	leastConnections = 64
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
	memory := uint64(1 << 30)
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		memory = info.Totalram * uint64(info.Unit)
	}
	l := &load{most: mostConnections(files, memory)}
	l.free.L = &l.mu
	return l
}

// mostConnections is how many there can be with so many descriptors and bytes of memory.
func mostConnections(files, memory uint64) int {
	byFiles := (max(files, filesReserved) - filesReserved) / filesPerConnection
	return int(max(min(byFiles, memory/memoryParts/bytesPerConnection), leastConnections)) //nolint:gosec // bounded by filesAsked
}

// share is what one port has of the load: at most as many connections as there is room for then. So one port alone takes half of all, two take a third each,
// and whoever floods some ports leaves as much as each of them has to the others.
type share struct {
	load *load

	// Guarded by load.mu.
	open   int
	closed bool
}

func (l *load) share() *share { return &share{load: l} }

// room waits until there is room for another connection; false when the share has been closed.
func (s *share) room() bool {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	for s.isFull() && !s.closed {
		s.load.waiting++
		s.load.free.Wait()
		s.load.waiting--
	}
	return !s.closed
}

// full tells that there is no room.
func (s *share) full() bool {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	return s.isFull()
}

func (s *share) isFull() bool {
	free := s.load.most - s.load.open
	return free <= 0 || s.open > free
}

// close ends waiting for room, for good. What is open is counted until it ends.
func (s *share) close() {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	s.closed = true
	s.load.free.Broadcast()
}

// take counts one.
func (s *share) take() {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	s.open++
	s.load.open++
}

// give ends a connection.
func (s *share) give() {
	l := s.load
	l.mu.Lock()
	defer l.mu.Unlock()
	s.open--
	l.open--
	if l.waiting > 0 {
		l.free.Broadcast() // each waits for something else: its own number, or that of all
	}
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
