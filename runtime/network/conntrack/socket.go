package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"berth/runtime/internal/sys"
)

// socket is one to the kernel's connection tracking.
type socket struct {
	fd  *sys.FD
	seq uint32
	buf []byte
}

// bufferSize is what the kernel fills at most of a list in one go.
const bufferSize = 32 << 10

func dial() (*socket, error) {
	n, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netfilter socket: %w", err)
	}
	fd := sys.NewFD(n)
	err = errors.Join(
		unix.SetsockoptInt(n, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1), // answers without a copy of the request
		unix.Bind(n, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot set up a netfilter socket: %w", err), fd.Close())
	}
	return &socket{fd: fd, buf: make([]byte, bufferSize)}, nil
}

func (s *socket) close() { _ = s.fd.Close() } // nothing is under way

// list shows each flow in question. What it shows is good until the next.
func (s *socket) list(among Among, show func(Flow)) error {
	return s.ask(msgGet, unix.NLM_F_DUMP, among.request(), shown(show))
}

func shown(show func(Flow)) func(body []byte) error {
	return func(body []byte) error {
		if len(body) < len(family()) {
			return errMalformed
		}
		f, err := flowOf(body[len(family()):])
		if err == nil {
			show(f)
		}
		return err
	}
}

// forget forgets one flow, if it is still there, and if nobody has answered it where that matters.
func (s *socket) forget(key []byte, unanswered bool) error {
	body, answered := append(family(), key...), false
	var err error
	if unanswered {
		err = s.ask(msgGet, unix.NLM_F_ACK, body, shown(func(f Flow) { answered = f.Answered }))
	}
	if err == nil && !answered {
		err = s.ask(msgDelete, unix.NLM_F_ACK, body, nil)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// ask sends a request and hands on what it brings, until the kernel says that this was all.
func (s *socket) ask(kind, flags uint16, body []byte, each func(body []byte) error) error {
	s.seq++
	header := make([]byte, unix.SizeofNlMsghdr)
	binary.NativeEndian.PutUint32(header, uint32(len(header)+len(body)))
	binary.NativeEndian.PutUint16(header[4:], kind)
	binary.NativeEndian.PutUint16(header[6:], flags|unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(header[8:], s.seq)
	if err := unix.Sendto(s.fd.Int(), append(header, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(s.fd.Int(), s.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if done, err := s.answers(s.buf[:n], each); done || err != nil {
			return err
		}
	}
}

// answers reads one packet.
func (s *socket) answers(p []byte, each func(body []byte) error) (done bool, err error) {
	for len(p) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(p))
		if size < unix.SizeofNlMsghdr || size > len(p) {
			return false, errMalformed
		}
		body := p[unix.SizeofNlMsghdr:size]
		switch binary.NativeEndian.Uint16(p[4:]) {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(body) >= 4 {
				if errno := -int32(binary.NativeEndian.Uint32(body)); errno != 0 {
					return true, unix.Errno(errno)
				}
			}
			return true, nil
		case msgNew:
			if err := each(body); err != nil {
				return false, err
			}
		}
		p = p[min(align(size), len(p)):]
	}
	return false, nil
}

func align(n int) int { return (n + 3) &^ 3 }

// attr is an attribute with its value.
func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// typeMask is what of an attribute's type is not a flag (NLA_TYPE_MASK).
const typeMask = 0x3fff

// each shows the attributes in b: their kind, all of them, and their value.
func each(b []byte, show func(kind uint16, whole, value []byte)) error {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return errMalformed
		}
		end := min(align(size), len(b))
		show(binary.NativeEndian.Uint16(b[2:])&typeMask, b[:end], b[unix.SizeofNlAttr:size])
		b = b[end:]
	}
	return nil
}
