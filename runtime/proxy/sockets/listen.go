package sockets

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// backlog is how many connections may wait to be accepted; the kernel cuts it to net.core.somaxconn.
const backlog = 4096

// How long a connection may be silent before the kernel asks whether the other end is still there, how often it asks, and how many times.
const (
	keepIdle     = 300
	keepInterval = 30
	keepCount    = 4
)

// listen opens a socket that does not block. What is set on a listening socket, accepted ones inherit.
func listen(network string, addr netip.AddrPort) (fd int, err error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	switch network {
	case "tcp4":
	case "tcp6":
		family = unix.AF_INET6
	case "udp4":
		kind = unix.SOCK_DGRAM
	case "udp6":
		family, kind = unix.AF_INET6, unix.SOCK_DGRAM
	default:
		return -1, fmt.Errorf("no network is called %q", network)
	}
	if fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	for _, o := range options(family, kind) {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return -1, err
		}
	}
	if err := unix.Bind(fd, Sockaddr(addr)); err != nil {
		return -1, err
	}
	if kind == unix.SOCK_STREAM {
		return fd, unix.Listen(fd, backlog)
	}
	return fd, nil
}

type option struct{ level, name, value int }

func options(family, kind int) []option {
	var all []option
	if family == unix.AF_INET6 {
		all = append(all, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	if kind == unix.SOCK_DGRAM { // the address that was asked is the one to answer from
		if family == unix.AF_INET6 {
			return append(all, option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1})
		}
		return append(all, option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1})
	}
	return append(all,
		option{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, // connections that have ended a minute ago are not in the way
		option{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		option{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle},
		option{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepInterval},
		option{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepCount},
		option{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1})
}

// Refuse makes a TCP socket refuse connections, those that wait among them, and keeps its address; Accept undoes it.
func (k *Socket) Refuse() error {
	return k.control(func(fd int) error {
		// A socket that does not listen would keep the mark, and connections that it accepts later would be born with their ends.
		if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on == 0 {
			return err
		}
		if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
			return err
		}
		// An address that nobody listens on is shared by all who would share it: nobody else shall begin to listen meanwhile.
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	})
}

// Accept makes a TCP socket accept connections, when it does not.
func (k *Socket) Accept() error {
	return k.control(func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
		return unix.Listen(fd, backlog)
	})
}

// Receive makes a UDP socket receive from everybody, or from nobody: then the kernel answers that the port is closed. Its address stays.
func (k *Socket) Receive(all bool) error {
	return k.control(func(fd int) error {
		if !all { // connected to where nothing ever comes from
			to := unix.Sockaddr(&unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}})
			if k.Six() {
				to = &unix.SockaddrInet6{Port: 1, Addr: [16]byte{15: 1}}
			}
			return unix.Connect(fd, to)
		}
		var unspecified [16]byte // struct sockaddr of AF_UNSPEC: not connected any more
		_, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
		if e != 0 {
			return e
		}
		return nil
	})
}

// Six tells a socket of IPv6.
func (k *Socket) Six() bool { return strings.HasPrefix(k.name[3:], "6") }

// Duplicate is another descriptor of the socket. It keeps the address for as long as it is open, in this process.
func (k *Socket) Duplicate() (*os.File, error) {
	var file *os.File
	err := k.control(func(fd int) error {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err == nil {
			file = os.NewFile(uintptr(n), k.name)
		}
		return err
	})
	return file, err
}

func (k *Socket) control(f func(fd int) error) error {
	var err error
	if cerr := k.raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// Sockaddr is an address as system calls take it.
func Sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if a := addr.Addr(); a.Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

// AddrPort is an address as system calls give it; the zero value for one of another family.
func AddrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)) //nolint:gosec // a port
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)) //nolint:gosec // a port
	}
	return netip.AddrPort{}
}
