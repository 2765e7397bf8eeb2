// Package socket speaks raw netlink where it has to be quick: requests leave together, and each answer is shown as the kernel wrote it.
package socket

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
)

// Socket is one to a part of the kernel, in the network namespace in which it was opened. Its user takes care that no two calls overlap.
type Socket struct {
	fd  *sys.FD
	seq uint32
	buf []byte
}

// Open opens a socket to the part of the kernel with this number (unix.NETLINK_ROUTE and so on) in the namespace of this thread. The longest packet of
// answers must fit into so many bytes.
func Open(protocol, longest int) (*Socket, error) {
	n, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	fd := sys.NewFD(n)
	err = errors.Join(
		unix.SetsockoptInt(n, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // answers without a copy of the request
		unix.Bind(n, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot set up a netlink socket: %w", err), fd.Close())
	}
	return &Socket{fd: fd, buf: make([]byte, longest)}, nil
}

// Close closes the socket.
func (s *Socket) Close() error { return s.fd.Close() }

// Request begins one: a header, of which Send fills in the rest, and what follows it.
func Request(kind, flags uint16, body ...byte) []byte {
	r := make([]byte, unix.SizeofNlMsghdr, 256)
	binary.NativeEndian.PutUint16(r[4:], kind)
	binary.NativeEndian.PutUint16(r[6:], flags|unix.NLM_F_REQUEST)
	return append(r, body...)
}

// Send sends requests together, numbered from first on. The kernel works on all of them, in order.
func (s *Socket) Send(requests ...[]byte) (first uint32, err error) {
	first = s.seq + 1
	var out []byte
	for _, r := range requests {
		s.seq++
		binary.NativeEndian.PutUint32(r, uint32(len(r)))
		binary.NativeEndian.PutUint32(r[8:], s.seq)
		out = append(out, r...)
	}
	return first, unix.Sendto(s.fd.Int(), out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// Answer is one message from the kernel.
type Answer struct {
	Kind uint16
	// Number is that of the request.
	Number uint32
	// Body is good until the next Receive.
	Body []byte
}

// Last tells whether this is the last answer to its request, and what became of that: 0 when it went well.
func (a Answer) Last() (errno unix.Errno, last bool) {
	if a.Kind != unix.NLMSG_ERROR && a.Kind != unix.NLMSG_DONE {
		return 0, false
	}
	if len(a.Body) >= 4 {
		errno = unix.Errno(-int32(binary.NativeEndian.Uint32(a.Body)))
	}
	return errno, true
}

// ErrMalformed says that what the kernel wrote cannot be read.
var ErrMalformed = errors.New("the kernel's answer is malformed")

// Receive waits for one packet of answers and shows each, until that fails. A signal makes it return without any.
func (s *Socket) Receive(show func(Answer) error) error {
	n, _, err := unix.Recvfrom(s.fd.Int(), s.buf, 0)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return err
	}
	return answers(s.buf[:n], show)
}

// answers shows each message of a packet.
func answers(p []byte, show func(Answer) error) error {
	for len(p) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(p))
		if size < unix.SizeofNlMsghdr || size > len(p) {
			return ErrMalformed
		}
		a := Answer{Kind: binary.NativeEndian.Uint16(p[4:]), Number: binary.NativeEndian.Uint32(p[8:]), Body: p[unix.SizeofNlMsghdr:size]}
		if err := show(a); err != nil {
			return err
		}
		p = p[min(align(size), len(p)):]
	}
	return nil
}
