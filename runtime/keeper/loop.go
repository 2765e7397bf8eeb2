package keeper

import (
	"sync"
	"syscall"
	"unsafe"
)

// source is something the loop waits for. ready is called on the loop only.
type source interface {
	ready(events uint32)
}

// loop is the one goroutine that waits for descriptors: connections, log FIFOs, processes that are not our children. It wakes up for nothing
// else. What others want done on it they post.
type loop struct {
	epoll, wake int

	mu     sync.Mutex
	posted []func()

	// Used on the loop only. An event carries a token, never a descriptor: a descriptor closed and opened again within one round of
	// events would be taken for another.
	sources map[int32]source
	last    int32
}

func newLoop() (*loop, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wake, _, e := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if e != 0 {
		return nil, e
	}
	l := &loop{epoll: epoll, wake: int(wake), sources: map[int32]source{}}
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN}
	return l, syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, l.wake, &ev)
}

// post runs f on the loop, soon, in the order of posting.
func (l *loop) post(f func()) {
	l.mu.Lock()
	l.posted = append(l.posted, f)
	first := len(l.posted) == 1
	l.mu.Unlock()
	if first {
		one := [8]byte{1}
		_, _ = syscall.Write(l.wake, one[:]) // EAGAIN: it is awake already
	}
}

// call runs f on the loop and waits for it. It must not be used on the loop.
func (l *loop) call(f func()) {
	done := make(chan struct{})
	l.post(func() {
		defer close(done)
		f()
	})
	<-done
}

// add waits for events on a descriptor. The token is for remove. Loop only.
func (l *loop) add(fd int, events uint32, s source) (int32, error) {
	for l.last++; l.last <= 0 || l.sources[l.last] != nil; l.last++ {
		if l.last <= 0 {
			l.last = 0
		}
	}
	ev := syscall.EpollEvent{Events: events, Fd: l.last}
	if err := syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return 0, err
	}
	l.sources[l.last] = s
	return l.last, nil
}

// remove ends what add began; the caller closes the descriptor afterwards. Loop only.
func (l *loop) remove(token int32, fd int) {
	if l.sources[token] != nil {
		delete(l.sources, token)
		_ = syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_DEL, fd, &syscall.EpollEvent{})
	}
}

func (l *loop) run() {
	events := make([]syscall.EpollEvent, 64)
	for {
		n, _, e := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
		if e != 0 {
			continue // EINTR
		}
		for _, ev := range events[:n] {
			if ev.Fd == 0 {
				l.runPosted()
			} else if s := l.sources[ev.Fd]; s != nil {
				s.ready(ev.Events)
			}
		}
	}
}

func (l *loop) runPosted() {
	var count [8]byte
	_, _ = syscall.Read(l.wake, count[:]) // EAGAIN: an earlier round has read it
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
}
