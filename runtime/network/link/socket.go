package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
)

// Socket is an rtnetlink socket of one network namespace. It is safe for concurrent use: requests of several goroutines follow each other,
// as they do in the kernel.
type Socket struct {
	mu  sync.Mutex
	fd  *sys.FD
	seq uint32
	buf []byte
}

// Open opens a socket in the namespace of this process.
func Open() (*Socket, error) {
	n, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open an rtnetlink socket: %w", err)
	}
	fd := sys.NewFD(n)
	err = errors.Join(
		unix.SetsockoptInt(n, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // answers without a copy of the request
		unix.Bind(n, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot set up an rtnetlink socket: %w", err), fd.Close())
	}
	return &Socket{fd: fd, buf: make([]byte, 16<<10)}, nil
}

// OpenIn opens a socket in another namespace.
func OpenIn(netns *os.File) (*Socket, error) {
	type result struct {
		s   *Socket
		err error
	}
	done := make(chan result)
	go func() {
		// The thread changes its namespace for a moment. If it cannot come back it stays locked and ends with this goroutine.
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- result{nil, fmt.Errorf("cannot open the machine's network namespace: %w", err)}
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- result{nil, fmt.Errorf("cannot enter network namespace: %w", err)}
			return
		}
		s, err := Open()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- result{s, err}
	}()
	r := <-done
	return r.s, r.err
}

// Close closes the socket.
func (s *Socket) Close() error { return s.fd.Close() }

// do sends requests together and returns the error of the first that failed. The kernel works on all of them, in order.
func (s *Socket) do(messages ...*message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.seq + 1
	var out []byte
	for _, m := range messages {
		s.seq++
		binary.NativeEndian.PutUint32(m.data, uint32(len(m.data)))
		binary.NativeEndian.PutUint32(m.data[8:], s.seq)
		out = append(out, m.data...)
	}
	if err := unix.Sendto(s.fd.Int(), out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("cannot %s: %w", messages[0].what, err)
	}
	errnos := make([]unix.Errno, len(messages))
	for answered := 0; answered < len(messages); {
		n, err := s.receive(first, messages, errnos)
		if err != nil {
			return err
		}
		answered += n
	}
	for i, errno := range errnos {
		if errno != 0 {
			return fmt.Errorf("cannot %s: %w", messages[i].what, errno)
		}
	}
	return nil
}

// receive reads one packet of answers and returns how many of the requests it answers.
func (s *Socket) receive(first uint32, messages []*message, errnos []unix.Errno) (int, error) {
	n, _, err := unix.Recvfrom(s.fd.Int(), s.buf, 0)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read from rtnetlink: %w", err)
	}
	answered := 0
	for p := s.buf[:n]; len(p) >= unix.SizeofNlMsghdr; {
		size := int(binary.NativeEndian.Uint32(p))
		if size < unix.SizeofNlMsghdr || size > len(p) {
			return 0, errors.New("cannot read from rtnetlink: truncated message")
		}
		i, body := binary.NativeEndian.Uint32(p[8:])-first, p[unix.SizeofNlMsghdr:size]
		kind := binary.NativeEndian.Uint16(p[4:])
		switch {
		case int64(i) >= int64(len(messages)): // an answer to an earlier request that was given up
		case kind == unix.NLMSG_ERROR && len(body) >= 4:
			errnos[i] = unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
			answered++
		case kind == unix.RTM_NEWLINK && len(body) >= unix.SizeofIfInfomsg:
			messages[i].index, messages[i].flags = int(int32(binary.NativeEndian.Uint32(body[4:]))), binary.NativeEndian.Uint32(body[8:])
		}
		p = p[min((size+3)&^3, len(p)):]
	}
	return answered, nil
}
