// Package sockets opens the sockets that the proxy listens on, so that they outlive it: the keeper holds a duplicate of each under its name,
// "tcp4/0.0.0.0:80", and the proxy after this one goes on with it, with whoever has connected meanwhile.
package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Keeper holds duplicates.
type Keeper interface {
	Hold(ctx context.Context, name string, fd int) error
	Drop(ctx context.Context, name string) error
}

// Set is all sockets of a proxy. It is safe for concurrent use.
type Set struct {
	mu     sync.Mutex
	keeper Keeper              // nil while there is none
	held   map[string]*os.File // left by an earlier proxy, not asked for yet
	open   map[string]*Socket
	left   bool // another process goes on with all
}

// New begins with what an earlier proxy has left; the files are the set's from now on.
func New(keeper Keeper, held map[string]*os.File) *Set {
	return &Set{keeper: keeper, held: held, open: map[string]*Socket{}}
}

// Socket is a socket that listens, or for UDP one that receives, until Close.
type Socket struct {
	set  *Set
	name string
	file *os.File
	raw  syscall.RawConn
	once sync.Once
}

// Open opens a socket of a network, "tcp4", "tcp6", "udp4" or "udp6", on an address. TCP listens. Two that are open at once have different names.
func (s *Set) Open(ctx context.Context, network string, addr netip.AddrPort) (*Socket, error) {
	name := network + "/" + addr.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[name] != nil {
		return nil, fmt.Errorf("cannot open %s: %w", name, unix.EADDRINUSE)
	}
	file, left := s.held[name]
	if !left {
		fd, err := listen(network, addr)
		if err != nil {
			return nil, fmt.Errorf("cannot open %s: %w", name, err)
		}
		file = os.NewFile(uintptr(fd), name)
	}
	delete(s.held, name)
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot open %s: %w", name, err)
	}
	k := &Socket{set: s, name: name, file: file, raw: raw}
	s.open[name] = k
	if !left {
		s.hold(ctx, k)
	}
	return k, nil
}

// Left tells whether an earlier proxy has left this socket and it has not been opened yet.
func (s *Set) Left(network string, addr netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[network+"/"+addr.String()] != nil
}

// hold gives the keeper a duplicate. Without a keeper, or when it refuses, the socket serves all the same; the next keeper is given all.
func (s *Set) hold(ctx context.Context, k *Socket) {
	if s.keeper != nil {
		_ = k.raw.Control(func(fd uintptr) { _ = s.keeper.Hold(ctx, k.name, int(fd)) })
	}
}

// SetKeeper gives all that is open to another keeper; nil for none.
func (s *Set) SetKeeper(ctx context.Context, keeper Keeper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keeper = keeper; keeper == nil {
		return
	}
	for _, k := range s.open {
		s.hold(ctx, k)
	}
}

// Sweep closes what an earlier proxy has left and nobody has asked for.
func (s *Set) Sweep(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, file := range s.held {
		delete(s.held, name)
		s.drop(ctx, name)
		file.Close()
	}
}

func (s *Set) drop(ctx context.Context, name string) {
	if s.keeper != nil {
		_ = s.keeper.Drop(ctx, name) // a keeper that has died holds nothing
	}
}

// Leave lets go of the keeper: from now on Close ends this process's use of a socket only.
func (s *Set) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeper, s.left = nil, true
	for _, file := range s.held {
		file.Close()
	}
	s.held = nil
}

// RawConn waits for the socket and acts on its descriptor, which does not block.
func (k *Socket) RawConn() syscall.RawConn { return k.raw }

// Listener is a TCP socket as package net has it: a duplicate, to be closed by the caller before the socket is.
func (k *Socket) Listener() (net.Listener, error) { return net.FileListener(k.file) }

// UDPConn is a UDP socket as package net has it: a duplicate, to be closed by the caller before the socket is.
func (k *Socket) UDPConn() (*net.UDPConn, error) {
	conn, err := net.FilePacketConn(k.file)
	if err != nil {
		return nil, err
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		_ = conn.Close()
		return nil, errors.New("not a UDP socket")
	}
	return udp, nil
}

// Close closes the socket and frees its address, unless Leave was called: then another process goes on with it. Again is not an error.
func (k *Socket) Close(ctx context.Context) {
	k.once.Do(func() {
		k.set.mu.Lock()
		defer k.set.mu.Unlock()
		delete(k.set.open, k.name)
		if !k.set.left { // a child of the keeper's that is being set up may hold it a moment longer: nobody is to wait there
			_ = k.Refuse() // a socket of UDP has nobody waiting
		}
		k.set.drop(ctx, k.name)
		k.file.Close()
	})
}
