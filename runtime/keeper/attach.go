package keeper

import (
	"syscall"
	"time"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// tap is a client's copy of a stream: a pipe that gets what the container writes, from now on. While the client does not read, the stream is not
// read either, and the container waits: nothing is lost. How long it waits is the client's to say; one that takes nothing for longer is let go.
// All of it is used on the loop only.
type tap struct {
	s        *stream
	fd       int
	token    int32
	patience time.Duration // 0: for ever
	rest     []byte        // that the pipe had no room for; the stream waits for it to go
	behind   *time.Timer   // nil while there is no rest, or no end of patience
	last     bool          // the container has ended: close when all has gone
}

// attach copies the streams of a container to the descriptors that came along: standard output, then standard error unless it has a terminal.
func (r *request) attach() {
	var m wire.Attach
	wire.Decode(r.packet, &m)
	c := r.k.find(m.ID)
	if c == nil {
		r.fail(&wire.Failure{Code: wire.CodeNotFound, Text: "container " + m.ID})
		return
	}
	var fail *wire.Failure
	r.k.loop.call(func() { fail = c.attach(&r.files, time.Duration(m.Patience)) })
	r.answer(fail)
}

// attach takes the descriptors it uses. Loop only.
func (c *container) attach(files *[]int, patience time.Duration) *wire.Failure {
	switch {
	case c.ended || c.output == nil:
		return &wire.Failure{Code: wire.CodeNotFound, Text: "running container " + c.id}
	case len(*files) == 0 || len(*files) > len(streamNames):
		return invalid("the number of descriptors is wrong")
	}
	for i, fd := range *files {
		s := c.output.stream(streamNames[i])
		if s == nil {
			continue // closed by the container, or a terminal has no second one
		}
		if err := syscall.SetNonblock(fd, true); err != nil {
			return errnoFailure("prepare a pipe", err)
		}
		t := &tap{s: s, fd: fd, patience: patience}
		if err := t.watch(0); err != nil {
			return errnoFailure("wait for a pipe", err)
		}
		s.taps = append(s.taps, t)
		(*files)[i] = -1
	}
	return nil
}

// stream is the open stream of a name; nil when there is none.
func (o *output) stream(name string) *stream {
	for _, s := range o.streams {
		if s.name == name && s.fd >= 0 {
			return s
		}
	}
	return nil
}

// copyTo hands what was read to everybody who is attached.
func (s *stream) copyTo(p []byte) {
	for i := len(s.taps) - 1; i >= 0; i-- { //nolint:modernize // a tap that breaks takes itself out of the list
		s.taps[i].take(p)
	}
}

func (t *tap) take(p []byte) {
	if len(t.rest) > 0 {
		t.rest = append(t.rest, p...)
		return
	}
	n, ok := t.put(p)
	if !ok || n == len(p) {
		return
	}
	t.rest = append(t.rest, p[n:]...)
	if t.patience > 0 {
		t.behind = time.AfterFunc(t.patience, func() { t.s.out.k.loop.post(t.giveUp) })
	}
	t.s.pause()
	t.unwatch()
	if t.watch(syscall.EPOLLOUT) != nil {
		t.end()
	}
}

// put writes what there is room for; false means that the tap has ended.
func (t *tap) put(p []byte) (int, bool) {
	n := 0
	for n < len(p) {
		m, err := syscall.Write(t.fd, p[n:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return n, true
		case err != nil:
			t.end()
			return n, false
		default:
			n += m
		}
	}
	return n, true
}

// ready goes on with the rest, or finds that the client has left.
func (t *tap) ready(events uint32) {
	if events&syscall.EPOLLERR != 0 {
		t.end()
		return
	}
	n, ok := t.put(t.rest)
	if !ok {
		return
	}
	if t.rest = t.rest[n:]; len(t.rest) > 0 {
		if t.behind != nil {
			t.behind.Reset(t.patience)
		}
		return
	}
	t.caughtUp()
	if t.last {
		t.end()
		return
	}
	t.unwatch()
	if t.watch(0) != nil {
		t.end()
		return
	}
	t.s.resume()
}

func (t *tap) caughtUp() {
	t.rest = nil
	if t.behind != nil {
		t.behind.Stop()
		t.behind = nil
	}
}

// giveUp lets go of a client that has taken nothing. A timer that was stopped too late finds none behind.
func (t *tap) giveUp() {
	if t.behind != nil {
		t.end()
	}
}

// watch waits for room (EPOLLOUT); the end of the reader is told in any case.
func (t *tap) watch(events uint32) (err error) {
	t.token, err = t.s.out.k.loop.add(t.fd, events, t)
	return err
}

func (t *tap) unwatch() { t.s.out.k.loop.remove(t.token, t.fd) }

// end lets go of the client, which sees the end of the stream.
func (t *tap) end() {
	if t.fd < 0 {
		return
	}
	t.unwatch()
	closeFD(&t.fd)
	t.caughtUp()
	for i, o := range t.s.taps {
		if o == t {
			t.s.taps = append(t.s.taps[:i:i], t.s.taps[i+1:]...)
			break
		}
	}
	t.s.resume()
}

// endTaps is for the end of a container: who has all of it is let go at once, the others when they have.
func (o *output) endTaps() {
	if o == nil {
		return
	}
	for _, s := range o.streams {
		for i := len(s.taps) - 1; i >= 0; i-- { //nolint:modernize // a tap that ends takes itself out of the list
			if t := s.taps[i]; len(t.rest) > 0 {
				t.last = true
			} else {
				t.end()
			}
		}
	}
}

// pause stops reading a stream.
func (s *stream) pause() {
	if s.fd >= 0 && s.token != 0 {
		s.out.k.loop.remove(s.token, s.fd)
		s.token = 0
	}
}

// resume reads a stream again when nobody is behind any more.
func (s *stream) resume() {
	for _, t := range s.taps {
		if len(t.rest) > 0 {
			return
		}
	}
	if s.fd >= 0 && s.token == 0 {
		s.watch()
	}
}

// openInput makes the pipe of a standard input that ends when closeInput says so: as long as the end to write to is open it does not. The other
// end is for the child, which may open it again through /proc/self/fd, and is closed by the caller.
func (c *container) openInput() (end, *wire.Failure) {
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		return end{}, errnoFailure("make the pipe of standard input", err)
	}
	err := syscall.Fchown(p[0], int(c.log.Owner), int(c.log.Owner))
	if err == nil {
		err = syscall.Fchmod(p[0], inputMode)
	}
	if err == nil {
		err = syscall.SetNonblock(p[1], true) // for the clients: here nobody writes to it
	}
	if err != nil {
		syscall.Close(p[0])
		syscall.Close(p[1])
		return end{}, errnoFailure("give standard input to the container", err)
	}
	c.input = p[1]
	return end{program.SlotStdin, p[0]}, nil
}

// input gives a client the end of standard input to write to.
func (r *request) input() {
	r.handOut("standard input", func(c *container) int { return c.input })
}

// closeInput ends a container's standard input, once no other client writes to it either. It is not an error when it has ended before.
func (r *request) closeInput() {
	var m wire.ID
	wire.Decode(r.packet, &m)
	c := r.k.find(m.ID)
	if c == nil {
		r.fail(&wire.Failure{Code: wire.CodeNotFound, Text: "container " + m.ID})
		return
	}
	r.k.mu.Lock()
	closeFD(&c.input)
	r.k.mu.Unlock()
	r.reply(nil, -1)
}
