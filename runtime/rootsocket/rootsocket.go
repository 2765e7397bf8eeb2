// Package rootsocket makes Unix sockets that root alone connects to, at paths of any length.
package rootsocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// Listen opens a socket at a path, in the place of the one that is there. Its file stays when it is closed: a successor may have replaced it.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot replace the socket %s: %w", path, err)
	}
	var l *net.UnixListener
	err := Short(path, func(short string) (err error) {
		// Not by the umask, which is the whole process's: what others make at that moment would get it, and of two who set and restore it at the
		// same time one restores the other's. Before the mode is right only root may write, which is what connecting takes.
		if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"}); err != nil {
			return err
		}
		return os.Chmod(short, 0o600)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// Dial connects to a socket.
func Dial(ctx context.Context, path string) (conn net.Conn, err error) {
	err = Short(path, func(short string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", short)
		return err
	})
	return conn, err
}

// pathMax is the longest path of a Unix socket (unix(7)).
const pathMax = 107

// Short calls f with a path that fits into a socket's address: longer ones go through a descriptor of their directory.
func Short(path string, f func(short string) error) error {
	if len(path) <= pathMax {
		return f(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// Only drops connections of users but root and our own, should the mode of the socket ever be changed.
type Only struct{ net.Listener }

// Accept implements net.Listener.
func (l Only) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(conn); err == nil && (uid == 0 || uid == os.Geteuid()) {
			return conn, nil
		}
		conn.Close()
	}
}

func peerUID(conn net.Conn) (int, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a Unix socket")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}
