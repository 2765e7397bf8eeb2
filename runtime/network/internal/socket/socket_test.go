package socket

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// reply is a packet of these messages, as the kernel would number them.
func reply(messages ...[]byte) []byte {
	var p []byte
	for i, m := range messages {
		m[0], m[8] = byte(len(m)), byte(i+1)
		p = append(p, m...)
		p = append(p, make([]byte, align(len(m))-len(m))...)
	}
	return p
}

func TestAnswers(t *testing.T) {
	p := reply(Request(unix.RTM_NEWLINK, 0, 1, 2, 3), Request(unix.NLMSG_ERROR, 0, 0xfe, 0xff, 0xff, 0xff), Request(unix.NLMSG_DONE, 0))
	var got []string
	show := func(a Answer) error {
		errno, last := a.Last()
		got = append(got, fmt.Sprint(a.Kind, a.Number, len(a.Body), int(errno), last))
		return nil
	}
	if err := answers(p, show); err != nil {
		t.Fatal(err)
	}
	if want := []string{"16 1 3 0 false", "2 2 4 2 true", "3 3 0 0 true"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	enough := errors.New("enough")
	if err := answers(p, func(Answer) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

// Whatever comes is read to its end or refused.
func TestMalformedAnswers(t *testing.T) {
	p := reply(Request(unix.RTM_NEWLINK, 0, AppendAttribute(nil, 3, []byte("eth0"))...), Request(unix.NLMSG_ERROR, 0, 0, 0, 0, 0))
	read := func(a Answer) error {
		a.Last()
		return Attributes(a.Body, func(uint16, []byte, []byte) {})
	}
	for i := range p {
		_ = answers(p[:i], read)
		for _, v := range []byte{0, 1, 15, 255} {
			c := slices.Clone(p)
			c[i] = v
			_ = answers(c, read)
		}
	}
	for _, p := range [][]byte{make([]byte, unix.SizeofNlMsghdr), append([]byte{255}, make([]byte, unix.SizeofNlMsghdr)...)} {
		if err := answers(p, read); !errors.Is(err, ErrMalformed) {
			t.Errorf("% x: %v", p, err)
		}
	}
}
