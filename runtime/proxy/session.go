package proxy

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/runtime/proxy/sockets"
)

// session carries the datagrams of one client to a backend, and the answers back.
type session struct {
	port     *udpPort
	at       peers
	backend  netip.AddrPort
	file     *os.File
	raw      syscall.RawConn
	last     atomic.Int64 // Unix nanoseconds: something went by
	began    time.Time
	answered atomic.Bool // something has come back
	stream   atomic.Bool // and more goes by than one question
}

// datagrams are held only while one is passed on.
var datagrams = sync.Pool{New: func() any { return new([datagramSize]byte) }}

// idleness is how long a session lives after its last datagram: one of a question and its answer, and one that is answered for longer than that.
type idleness struct{ question, stream, longer time.Duration }

// idle is what the kernel's own connection tracking goes by. Many clients ask each question from another port.
var idle = idleness{question: 30 * time.Second, stream: 120 * time.Second, longer: 2 * time.Second}

func newSession(u *udpPort, at peers, backend netip.AddrPort) (*session, error) {
	family := unix.AF_INET
	if backend.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	showClient(fd, u.terms.Load().shown(at.client.Addr(), at.local), backend)
	if err := unix.Connect(fd, sockets.Sockaddr(backend)); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s := &session{port: u, at: at, backend: backend, file: os.NewFile(uintptr(fd), "udp"), began: time.Now()}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	s.last.Store(s.began.UnixNano())
	return s, nil
}

func (s *session) send(data []byte) {
	s.passed()
	_ = s.raw.Control(func(fd uintptr) { _, _ = write(fd, data) }) // what is refused is told to who reads
}

// passed notes that a datagram goes by. The kernel counts from it too, so a port that is ours no more is nobody's in its table either: it would
// show the next client that gets the port as this one.
func (s *session) passed() {
	now := time.Now()
	s.last.Store(now.UnixNano())
	if s.answered.Load() && now.Sub(s.began) > s.port.idle.longer {
		s.stream.Store(true)
	}
}

// serve carries answers until nothing has gone by for long enough, or the backend says that nobody is there.
func (s *session) serve() {
	defer s.port.ended(s)
	defer s.file.Close()
	for {
		if err := s.file.SetReadDeadline(s.deadline()); err != nil {
			return
		}
		err := s.some()
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(s.deadline()) {
			continue
		}
		if errors.Is(err, unix.ECONNREFUSED) {
			s.port.choose.fail(s.backend)
		}
		if err != nil {
			return
		}
	}
}

func (s *session) deadline() time.Time {
	rest := s.port.idle.question
	if s.stream.Load() {
		rest = s.port.idle.stream
	}
	return time.Unix(0, s.last.Load()).Add(rest)
}

// some waits for answers and passes on those that there are.
func (s *session) some() error {
	var err error
	rerr := s.raw.Read(func(fd uintptr) bool {
		buf, _ := datagrams.Get().(*[datagramSize]byte)
		defer datagrams.Put(buf)
		got := false
		for {
			var n int
			n, err = read(fd, buf[:])
			if err != nil {
				break
			}
			got = true
			s.port.answer(s.at, buf[:n])
		}
		if got {
			s.answered.Store(true)
			s.passed()
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	return errors.Join(rerr, err)
}

// localAddr is the address that a datagram was sent to; the zero value when the kernel did not say.
func localAddr(oob []byte) netip.Addr {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0])).Spec_dst)
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0])).Addr)
		}
	}
	return netip.Addr{}
}

// pktinfo is the control message that makes a datagram come from an address.
func pktinfo(from netip.Addr) []byte {
	switch {
	case from.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from.As4()})
	case from.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: from.As16()})
	}
	return nil
}
