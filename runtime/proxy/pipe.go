package proxy

import (
	"sync"

	"golang.org/x/sys/unix"
)

// pipe is what bytes go through from socket to socket without being copied.
type pipe struct {
	r, w int
	held int // bytes in it
}

const (
	// pipeSize is what a pipe takes up at once, as much as the kernel lets everybody have. An empty one costs 10 KiB.
	pipeSize = 1 << 20
	// pipesKept is the number of pipes that are kept open for the next who needs one.
	pipesKept = 32
)

var pipes struct {
	sync.Mutex
	free []*pipe
}

// takePipe returns an empty pipe, nil when the process has no descriptors for another.
func takePipe() *pipe {
	pipes.Lock()
	if n := len(pipes.free); n > 0 {
		p := pipes.free[n-1]
		pipes.free = pipes.free[:n-1]
		pipes.Unlock()
		return p
	}
	pipes.Unlock()
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize) // a smaller one only takes more turns
	return &pipe{r: fds[0], w: fds[1]}
}

// giveBack ends the use of a pipe. One that still holds bytes, of a connection that broke, is closed with them.
func (p *pipe) giveBack() {
	pipes.Lock()
	defer pipes.Unlock()
	if p.held == 0 && len(pipes.free) < pipesKept {
		pipes.free = append(pipes.free, p)
		return
	}
	unix.Close(p.r)
	unix.Close(p.w)
}

// fill moves what there is from a socket into the empty pipe; 0 at the end of the stream, EAGAIN when there is nothing yet.
func (p *pipe) fill(fd int) (n int, err error) {
	p.held, err = splice(fd, p.w, pipeSize)
	return p.held, err
}

// empty moves what the pipe holds to a socket, in part perhaps; EAGAIN when the socket takes nothing.
func (p *pipe) empty(fd int) error {
	n, err := splice(p.r, fd, p.held)
	p.held -= n
	return err
}
