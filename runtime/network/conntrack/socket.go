package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"berth/runtime/network/internal/socket"
)

// tracking is a socket to the kernel's connection tracking.
type tracking struct{ *socket.Socket }

// mostOfList is what the kernel fills at most of a list in one go.
const mostOfList = 32 << 10

func dial() (tracking, error) {
	s, err := socket.Open(unix.NETLINK_NETFILTER, mostOfList)
	if err != nil {
		return tracking{}, fmt.Errorf("cannot reach the connection tracking: %w", err)
	}
	return tracking{s}, nil
}

// list shows each flow in question. What it shows is good until the next.
func (t tracking) list(among Among, show func(Flow)) error {
	return t.ask(msgGet, unix.NLM_F_DUMP, among.request(), shown(show))
}

func shown(show func(Flow)) func(body []byte) error {
	return func(body []byte) error {
		if len(body) < sizeofFamily {
			return socket.ErrMalformed
		}
		f, err := flowOf(body[sizeofFamily:])
		if err == nil {
			show(f)
		}
		return err
	}
}

// forget forgets one flow, if it is still there, and if nobody has answered it where that matters.
func (t tracking) forget(among Among, key []byte) error {
	body, answered := append(among.family(), key...), false
	var err error
	if among.Unanswered {
		err = t.ask(msgGet, unix.NLM_F_ACK, body, shown(func(f Flow) { answered = f.Answered }))
	}
	if err == nil && !answered {
		err = t.ask(msgDelete, unix.NLM_F_ACK, body, nil)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// ask sends a request and hands on what it brings, until the kernel says that this was all.
func (t tracking) ask(kind, flags uint16, body []byte, each func(body []byte) error) error {
	_, err := t.Send(socket.Request(kind, flags, body...))
	for done := false; err == nil && !done; {
		err = t.Receive(func(a socket.Answer) error {
			errno, last := a.Last()
			switch {
			case errno != 0:
				return errno
			case last:
				done = true
			case a.Kind == msgNew:
				return each(a.Body)
			}
			return nil
		})
	}
	return err
}
