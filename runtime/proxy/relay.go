package proxy

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// bufferSize is read at once as long as little comes; what fills it is the beginning of much, which then goes through a pipe, by reference.
const bufferSize = 16 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// relay carries bytes both ways until both sides have ended, and closes them. One side's end is passed on as it is: the end of what it sends,
// or a reset. Nothing is held while nothing is under way: an idle connection is two descriptors and two small stacks.
func relay(a, b *conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		carry(b, a)
	}()
	carry(a, b)
	<-done
	a.file.Close()
	b.file.Close()
}

// carry carries one way.
func carry(to, from *conn) {
	s := stream{to: to, from: from}
	for {
		ended, err := s.some()
		if err != nil {
			to.reset()
			from.reset()
			return
		}
		if ended {
			to.closeWrite()
			return
		}
	}
}

// stream is one direction of a connection.
type stream struct {
	to, from *conn
	bulk     bool
}

// some waits for bytes and carries them.
func (s *stream) some() (ended bool, err error) {
	if s.bulk {
		return s.splice()
	}
	return s.copy()
}

// copy carries what fits into a buffer: for little the quickest way.
func (s *stream) copy() (ended bool, err error) {
	var buf *[bufferSize]byte
	n := 0
	rerr := s.from.raw.Read(func(fd uintptr) bool {
		buf, _ = buffers.Get().(*[bufferSize]byte)
		n, err = read(fd, buf[:])
		if errors.Is(err, unix.EAGAIN) {
			buffers.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	if buf != nil {
		defer buffers.Put(buf)
	}
	switch {
	case rerr != nil:
		return false, rerr
	case err != nil:
		return false, err
	case n == 0:
		return true, nil
	}
	s.bulk = n == bufferSize
	rest := buf[:n]
	werr := s.to.raw.Write(func(fd uintptr) bool {
		for len(rest) > 0 && err == nil {
			n, err = write(fd, rest)
			if err == nil {
				rest = rest[n:]
			}
		}
		if errors.Is(err, unix.EAGAIN) {
			err = nil
			return false
		}
		return true
	})
	return false, errors.Join(err, werr)
}

// splice carries through a pipe what there is, without looking at it.
func (s *stream) splice() (ended bool, err error) {
	var p *pipe
	var n int
	rerr := s.from.raw.Read(func(fd uintptr) bool {
		if p == nil {
			if p = takePipe(); p == nil {
				return true
			}
		}
		n, err = p.fill(int(fd))
		if errors.Is(err, unix.EAGAIN) {
			p.giveBack()
			p = nil
			return false
		}
		return true
	})
	if p == nil {
		if rerr == nil { // there is no pipe to be had
			s.bulk = false
			return s.copy()
		}
		return false, rerr
	}
	if rerr != nil || err != nil || n == 0 {
		p.giveBack()
		return err == nil && rerr == nil, errors.Join(rerr, err)
	}
	s.bulk = n >= bufferSize
	werr := s.to.raw.Write(func(fd uintptr) bool {
		for p.held > 0 && err == nil {
			err = p.empty(int(fd))
		}
		if errors.Is(err, unix.EAGAIN) {
			err = nil
			return false
		}
		return true
	})
	p.giveBack()
	return false, errors.Join(err, werr)
}
