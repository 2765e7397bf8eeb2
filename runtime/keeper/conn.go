package keeper

import (
	"errors"
	"os"
	goruntime "runtime"
	"sync"
	"syscall"

	"berth/runtime/keeper/wire"
)

// sendBuffer is room for some thousand events while a client is busy; one that falls further behind is cut off and looks again.
const sendBuffer = 4 << 20

const soSndbufForce = 32

// listener accepts connections. spare is a descriptor to give up when there are no others.
type listener struct {
	k         *keeper
	fd, spare int
}

// refuse ends a connection that there is no descriptor for: left waiting, it would keep the loop busy.
func (l *listener) refuse() {
	closeFD(&l.spare)
	if fd, _, err := syscall.Accept4(l.fd, syscall.SOCK_CLOEXEC); err == nil {
		syscall.Close(fd)
	}
	l.spare, _ = dup(l.k.dir)
}

// listen begins to accept connections.
func (k *keeper) listen() error {
	if k.listener < 0 { // else an upgrade left it, with who is waiting
		if err := k.bind(); err != nil {
			return err
		}
	}
	spare, err := dup(k.dir)
	if err != nil {
		return err
	}
	_, err = k.loop.add(k.listener, syscall.EPOLLIN, &listener{k, k.listener, spare})
	return err
}

// bind makes the socket in the run directory, through the directory's descriptor: a path may be longer than a socket address.
func (k *keeper) bind() error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	path := k.runDir + "/" + wire.SocketName
	_ = syscall.Unlink(path) // what stays in the way makes bind fail
	if len(path) > 100 {
		path = "/proc/self/fd/" + itoa(k.dir) + "/" + wire.SocketName
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return err
	}
	if err := syscall.Chmod(path, 0o600); err != nil {
		return err
	}
	k.listener = fd
	return syscall.Listen(fd, 64)
}

func (l *listener) ready(uint32) {
	for {
		fd, _, err := syscall.Accept4(l.fd, syscall.SOCK_CLOEXEC)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			l.refuse()
			continue
		}
		if err != nil {
			return
		}
		cred, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if err != nil || cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
			syscall.Close(fd)
			continue
		}
		// Both only keep a slow client from being a burden: without them it still works.
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soSndbufForce, sendBuffer)
		_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &syscall.Timeval{Sec: 10})
		c := &conn{k: l.k, fd: fd, execs: map[uint64]*process{}}
		if c.token, err = l.k.loop.add(fd, syscall.EPOLLIN, c); err != nil {
			syscall.Close(fd)
			continue
		}
		l.k.mu.Lock()
		l.k.conns[c] = struct{}{}
		l.k.mu.Unlock()
	}
}

// conn is one client.
type conn struct {
	k     *keeper
	token int32

	mu         sync.Mutex // also held while sending, so that a descriptor is not closed under it
	fd         int
	greeted    bool
	subscribed bool
	execs      map[uint64]*process // running, by request
}

// ready reads the packets that have come. Loop only.
func (c *conn) ready(uint32) {
	oob := c.k.oob[:]
	for range 16 { // others want their turn
		n, oobn, flags, _, err := syscall.Recvmsg(c.fd, c.k.buf[:wire.MaxPacket+1], oob, syscall.MSG_DONTWAIT|syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EAGAIN || err == syscall.EINTR {
			return
		}
		files := descriptors(oob[:max(oobn, 0)])
		if err != nil || n == 0 || flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 {
			closeAll(files)
			c.close()
			return
		}
		kind, id, ok := wire.Header(c.k.buf[:n])
		if !ok {
			closeAll(files)
			c.close()
			return
		}
		r := &request{k: c.k, conn: c, kind: kind, id: id, packet: append([]byte(nil), c.k.buf[:n]...), files: files}
		go r.serve()
		goruntime.Gosched() // it begins on this thread, while another is woken for the loop
	}
}

func descriptors(oob []byte) []int {
	if len(oob) == 0 {
		return nil
	}
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var files []int
	for i := range msgs {
		if fds, err := syscall.ParseUnixRights(&msgs[i]); err == nil {
			files = append(files, fds...)
		}
	}
	return files
}

func closeAll(files []int) {
	for _, fd := range files {
		syscall.Close(fd)
	}
}

// send sends a packet, with a descriptor when file is not negative. A client that cannot be reached is dropped.
func (c *conn) send(kind wire.Kind, id uint64, m any, file int, flags int) {
	if file >= 0 {
		c.sendFiles(kind, id, m, flags, file)
		return
	}
	c.sendFiles(kind, id, m, flags)
}

func (c *conn) sendFiles(kind wire.Kind, id uint64, m any, flags int, files ...int) {
	p := wire.Encode(kind, id, m)
	var oob []byte
	if len(files) > 0 {
		oob = syscall.UnixRights(files...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return
	}
	for {
		_, err := syscall.SendmsgN(c.fd, p, oob, nil, flags|syscall.MSG_NOSIGNAL)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			_ = syscall.Shutdown(c.fd, syscall.SHUT_RDWR) // the loop sees the end and cleans up
		}
		return
	}
}

// close ends a connection and the processes that belong to it. Loop only.
func (c *conn) close() {
	c.k.loop.remove(c.token, c.fd)
	c.k.mu.Lock()
	delete(c.k.conns, c)
	c.k.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	closeFD(&c.fd)
	for _, p := range c.execs {
		p.killAll()
	}
}
