package keeper

import (
	"syscall"
	"unsafe"

	"berth/runtime/keeper/program"
	"berth/runtime/keeper/wire"
)

// output moves what a container writes into its log. All of it is used on the loop only.
type output struct {
	k       *keeper
	file    *logFile
	streams []*stream
	// terminal: the stream is a pty.
	terminal bool
}

// stream is one source of a log.
type stream struct {
	out   *output
	name  string // "stdout" or "stderr"
	fd    int
	token int32
	tail  []byte // of a line whose end has not come; nil most of the time
	// inLine: the last entry written was a piece of a line.
	inLine bool
	taps   []*tap
}

// streamNames are the streams, in the order of their slots.
var streamNames = [...]string{"stdout", "stderr"}

func streamIndex(name string) int {
	if name == streamNames[1] {
		return 1
	}
	return 0
}

// fifoMode and inputMode are for the container's user and those it becomes: what it writes to, and what it reads.
const (
	fifoMode  = 0o622
	inputMode = 0o444
)

// end is a container's end of a FIFO.
type end struct{ slot, fd int }

// openOutput makes the FIFOs of a container, opens its log and both ends: ours to read, the container's to write.
// The ends returned are for the child and closed by the caller, also when it fails.
func (k *keeper) openOutput(c *container) (o *output, ends []end, fail *wire.Failure) {
	l := &c.log
	o = &output{k: k}
	if l.Path != "" {
		o.file = newLogFile(l)
		if err := o.file.open(); err != nil {
			return o, nil, errnoFailure("open log "+l.Path, err)
		}
	}
	for i, path := range []string{l.Stdout, l.Stderr} {
		if path == "" {
			continue
		}
		write, err := makeFIFO(path, l.Owner)
		if err != nil {
			o.closeFiles()
			return o, ends, errnoFailure("make FIFO "+path, err)
		}
		ends = append(ends, end{program.SlotStdout + i, write})
		if fail := o.addFIFO(streamNames[i], path); fail != nil {
			o.closeFiles()
			return o, ends, fail
		}
	}
	k.loop.post(func() { // what comes before is kept by the FIFO
		for _, s := range o.streams {
			s.watch()
		}
	})
	return o, ends, nil
}

// makeFIFO makes a FIFO that the container's user, and whom it becomes later, may open again through /proc/self/fd.
func makeFIFO(path string, owner uint32) (int, error) {
	if err := syscall.Unlink(path); err != nil && err != syscall.ENOENT {
		return -1, err
	}
	if err := syscall.Mknod(path, syscall.S_IFIFO|0o600, 0); err != nil {
		return -1, err
	}
	fd, err := open(path, syscall.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err = syscall.SetNonblock(fd, false); err == nil {
		if err = syscall.Fchown(fd, int(owner), int(owner)); err == nil {
			err = syscall.Fchmod(fd, fifoMode)
		}
	}
	if err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// addFIFO opens our own end, with a file description of its own: what the container does to its end must not change ours.
func (o *output) addFIFO(name, path string) *wire.Failure {
	fd, err := open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return errnoFailure("open FIFO "+path, err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		syscall.Close(fd)
		return invalid(path + " is not a FIFO")
	}
	o.streams = append(o.streams, &stream{out: o, name: name, fd: fd})
	return nil
}

// addPTY makes the master of a terminal the source of the log.
func (o *output) addPTY(master int) {
	o.terminal = true
	fd, err := dup(master)
	if err != nil {
		complain("cannot read a terminal", err)
		return
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		complain("cannot read a terminal", err)
		syscall.Close(fd)
		return
	}
	s := &stream{out: o, name: streamNames[0], fd: fd}
	o.streams = append(o.streams, s)
	s.watch()
}

func (s *stream) watch() {
	token, err := s.out.k.loop.add(s.fd, syscall.EPOLLIN, s)
	if err != nil {
		complain("cannot wait for output", err)
		return
	}
	s.token = token
}

// ready moves one buffer. Level-triggered: what is left comes again after the others had their turn.
func (s *stream) ready(uint32) {
	if n := s.move(); n <= 0 {
		// End of file: nobody has the other end open any more, nor can open it. An end that stays ready would spin.
		s.end()
	}
}

// move reads one buffer and writes its lines; it returns -1 at the end of the stream and 0 never, 1 when there was nothing to read.
func (s *stream) move() int {
	k := s.out.k
	n, err := syscall.Read(s.fd, k.buf[:])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 1
	case err != nil || n == 0:
		return -1
	}
	s.write(k.buf[:n])
	s.copyTo(k.buf[:n])
	return n
}

// end stops reading for good.
func (s *stream) end() {
	if s.fd < 0 {
		return
	}
	s.flush()
	s.out.k.loop.remove(s.token, s.fd)
	closeFD(&s.fd)
}

const fionread = 0x541B

// drain writes what has been written until now, and the rest of the last line. It is bounded by what the pipes hold: others than the
// container's first process may still be writing.
func (o *output) drain() {
	if o == nil {
		return
	}
	for _, s := range o.streams {
		var left int32
		if s.fd < 0 {
			continue
		}
		if err := ioctl(s.fd, fionread, uintptr(unsafe.Pointer(&left))); err != nil || o.terminal {
			left = int32(len(o.k.buf)) // a terminal tells the length of a line only
		}
		for left > 0 {
			n := s.move()
			if n < 0 {
				s.end()
				break
			}
			if n == 1 && s.empty() {
				break
			}
			left -= int32(n)
		}
		s.flush()
	}
	for _, s := range o.streams {
		if s.fd >= 0 {
			return
		}
	}
	if o.file != nil {
		o.file.close() // nothing can come any more
	}
}

// empty tells whether there is nothing to read.
func (s *stream) empty() bool {
	fds := []pollFD{{fd: int32(s.fd), events: pollIn}}
	n, _ := poll(fds, 0)
	return n == 0
}

// close ends all streams and the log.
func (o *output) close() {
	if o == nil {
		return
	}
	for _, s := range o.streams {
		s.end()
	}
	if o.file != nil {
		o.file.close()
	}
}

// closeFiles is close for streams the loop does not know yet.
func (o *output) closeFiles() {
	for _, s := range o.streams {
		closeFD(&s.fd)
	}
	if o.file != nil {
		o.file.close()
	}
}
