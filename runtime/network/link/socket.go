package link

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"berth/runtime/network/internal/socket"
)

// Socket is an rtnetlink socket of one network namespace. It is safe for concurrent use: requests of several goroutines follow each other,
// as they do in the kernel.
type Socket struct {
	mu     sync.Mutex
	kernel *socket.Socket
}

// Open opens a socket in the namespace of this process.
func Open() (*Socket, error) {
	s, err := socket.Open(unix.NETLINK_ROUTE, 16<<10)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the interfaces: %w", err)
	}
	return &Socket{kernel: s}, nil
}

// OpenIn opens a socket in another namespace.
func OpenIn(netns *os.File) (*Socket, error) { return openIn(netns, func() error { return nil }) }

// Close closes the socket.
func (s *Socket) Close() error { return s.kernel.Close() }

// do sends requests together and returns the error of the first that failed. The kernel works on all of them, in order.
func (s *Socket) do(messages ...*message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([][]byte, len(messages))
	for i, m := range messages {
		requests[i] = m.data
	}
	first, err := s.kernel.Send(requests...)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", messages[0].what, err)
	}
	errnos := make([]unix.Errno, len(messages))
	for answered := 0; answered < len(messages); {
		err := s.kernel.Receive(func(a socket.Answer) error {
			i := a.Number - first
			if int64(i) >= int64(len(messages)) {
				return nil // an answer to an earlier request that was given up
			}
			if errno, last := a.Last(); last {
				errnos[i] = errno
				answered++
			} else {
				messages[i].read(a)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot read from rtnetlink: %w", err)
		}
	}
	for i, errno := range errnos {
		if errno != 0 {
			return fmt.Errorf("cannot %s: %w", messages[i].what, errno)
		}
	}
	return nil
}
