package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/proxy/sockets"
	"berth/runtime/proxy/table"
)

// ports are the published ports.
type ports struct {
	sockets *sockets.Set
	load    *load
	trust   forwarders

	mu   sync.Mutex
	open map[place]port
}

// place is where a port is open.
type place struct {
	network string // tcp4, tcp6, udp4, udp6
	addr    netip.AddrPort
}

// port serves one socket.
type port interface {
	// update returns when nothing new goes to who is no longer a backend. An error means that nobody is served.
	update(p *runtime.PublishedPort) error
	// close frees the address, or, leaving, leaves it to another process; what is under way goes on.
	close(ctx context.Context, leaving bool)
}

func newPorts(set *sockets.Set, load *load) *ports {
	return &ports{sockets: set, load: load, open: map[place]port{}}
}

// apply implements part.
func (s *ports) apply(ctx context.Context, t *table.Table) (problems []runtime.RouteProblem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trust.set(t.Forwarders)
	wanted := map[place]bool{}
	for i := range t.Ports {
		for _, at := range places(&t.Ports[i]) {
			wanted[at] = true
		}
	}
	for at, p := range s.open { // first: what takes the place of another needs its address
		if !wanted[at] {
			p.close(ctx, false)
			delete(s.open, at)
		}
	}
	for i := range t.Ports {
		p := &t.Ports[i]
		for _, at := range places(p) {
			if err := s.serve(ctx, at, p); err != nil && !at.needless(err) {
				problems = append(problems, problem(at, p, err))
			}
		}
	}
	return problems
}

// serve makes one port go by what is published there.
func (s *ports) serve(ctx context.Context, at place, p *runtime.PublishedPort) error {
	open := s.open[at]
	if open == nil {
		socket, err := s.sockets.Open(ctx, at.network, at.addr)
		if err != nil {
			return err
		}
		if p.Protocol == runtime.UDP {
			open, err = newUDP(socket, s.load, idle)
		} else {
			open = newTCP(socket, s.load, &s.trust)
		}
		if err != nil {
			socket.Close(ctx)
			return err
		}
		s.open[at] = open
	}
	return open.update(p)
}

// close implements part.
func (s *ports) close(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, p := range s.open {
		p.close(ctx, true)
		delete(s.open, at)
	}
}

// places are where a published port is open: without an address, on all of IPv4 and all of IPv6.
func places(p *runtime.PublishedPort) []place {
	network := string(p.Protocol)
	switch {
	case !p.Address.IsValid():
		return []place{
			{network + "4", netip.AddrPortFrom(netip.IPv4Unspecified(), p.Port)},
			{network + "6", netip.AddrPortFrom(netip.IPv6Unspecified(), p.Port)},
		}
	case p.Address.Unmap().Is4():
		return []place{{network + "4", netip.AddrPortFrom(p.Address.Unmap(), p.Port)}}
	}
	return []place{{network + "6", netip.AddrPortFrom(p.Address, p.Port)}}
}

// needless: a machine without IPv6 has no such ports, and nobody misses them.
func (at place) needless(err error) bool {
	return at.addr.Addr() == netip.IPv6Unspecified() && (errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL))
}

// problem says why a port could not be opened.
func problem(at place, p *runtime.PublishedPort, err error) runtime.RouteProblem {
	out := runtime.RouteProblem{Owner: p.Owner, Reason: "PortNotOpen", Message: fmt.Sprintf("cannot publish port %d (%s): %v", p.Port, p.Protocol, err)}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		out.Reason = "PortInUse"
		out.Message = fmt.Sprintf("cannot publish port %d (%s): %s has it; berth tries again until it is free", p.Port, p.Protocol, holder(at))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		out.Message = fmt.Sprintf("cannot publish port %d (%s): this machine has no address %s", p.Port, p.Protocol, at.addr.Addr())
	}
	return out
}

// terms are who may use a port, and how pods learn who it is.
type terms struct {
	sources       []netip.Prefix
	showClient    bool
	proxyProtocol int
}

func termsOf(p *runtime.PublishedPort) *terms {
	return &terms{p.Sources, p.ShowClient, p.ProxyProtocol}
}

// allow tells whether a client may connect.
func (t *terms) allow(client netip.Addr) bool {
	for _, s := range t.sources {
		if s.Contains(client) {
			return true
		}
	}
	return len(t.sources) == 0
}

// shown is the address of a client that pods are to see; the zero value for the machine's own. asked is the machine's address that it has connected to: who
// comes from there is the machine itself, which pods know by its address on their bridge.
func (t *terms) shown(client, asked netip.Addr) netip.Addr {
	if t.showClient && client.Is4() && client.IsGlobalUnicast() && client != asked {
		return client
	}
	return netip.Addr{}
}

func affinity(p *runtime.PublishedPort) time.Duration {
	return time.Duration(p.AffinitySeconds) * time.Second
}
