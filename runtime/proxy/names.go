package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"berth/runtime"
	"berth/runtime/proxy/dns"
	"berth/runtime/proxy/sockets"
	"berth/runtime/proxy/table"
)

// names answers for the names of Services, on the machine's address on the pods' bridge.
type names struct {
	sockets *sockets.Set

	mu     sync.Mutex
	cfg    table.DNS
	server *dns.Server // nil while it does not serve
	addr   netip.AddrPort
	stop   func()
}

func newNames(set *sockets.Set) *names { return &names{sockets: set} }

// The ports on which names are answered: the usual one, and when the machine's own server has that on every address, others. Pods notice
// nothing: what they send to the cluster's address is redirected.
var namePorts = []uint16{53, 10053, 10054, 10055, 10056, 10057, 10058, 10059}

// apply implements part.
func (n *names) apply(ctx context.Context, t *table.Table) []runtime.RouteProblem {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil && n.cfg != t.DNS {
		n.end(ctx)
	}
	if !t.DNS.Address.IsValid() {
		return nil
	}
	if n.server != nil {
		n.server.Apply(t.Traffic)
		return nil
	}
	n.cfg = t.DNS
	server := dns.New(dns.Config{
		Domain: t.DNS.Domain, Address: t.DNS.ClusterIP, Clients: []netip.Prefix{t.DNS.PodCIDR, t.DNS.PodCIDR6},
		Pods: []netip.Prefix{t.DNS.PodCIDR, t.DNS.PodCIDR6}, Services: []netip.Prefix{t.DNS.ServiceCIDR, t.DNS.ServiceCIDR6},
	})
	server.Apply(t.Traffic)
	if err := n.listen(ctx, server); err != nil {
		return []runtime.RouteProblem{{Owner: "DNS", Reason: "PortNotOpen", Message: fmt.Sprintf("cannot answer for the names of Services: %v", err)}}
	}
	n.server = server
	return nil
}

// listen opens the port that the proxy before had, to which pods are led, or the first one that is free for both UDP and TCP.
func (n *names) listen(ctx context.Context, server *dns.Server) (err error) {
	var left, others []netip.AddrPort
	for _, port := range namePorts {
		addr := netip.AddrPortFrom(n.cfg.Address, port)
		if n.sockets.Left("udp4", addr) || n.sockets.Left("udp6", addr) {
			left = append(left, addr)
		} else {
			others = append(others, addr)
		}
	}
	for _, n.addr = range append(left, others...) {
		if err = n.listenAt(ctx, server); !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	return err
}

func (n *names) listenAt(ctx context.Context, server *dns.Server) (err error) {
	family := "4"
	if n.addr.Addr().Is6() {
		family = "6"
	}
	udp, err := n.sockets.Open(ctx, "udp"+family, n.addr)
	if err != nil {
		return err
	}
	tcp, err := n.sockets.Open(ctx, "tcp"+family, n.addr)
	if err != nil {
		udp.Close(ctx)
		return err
	}
	defer func() {
		if err != nil {
			udp.Close(ctx)
			tcp.Close(ctx)
		}
	}()
	packets, err := udp.UDPConn()
	if err != nil {
		return err
	}
	listener, err := tcp.Listener()
	if err != nil {
		_ = packets.Close()
		return err
	}
	streams, ok := listener.(*net.TCPListener)
	if !ok {
		_ = packets.Close()
		_ = listener.Close()
		return errors.New("not a TCP socket")
	}
	serving, stop := context.WithCancel(ctx)
	var served sync.WaitGroup
	served.Go(func() { _ = server.ServePacket(serving, packets) }) // ends with the socket only
	served.Go(func() { _ = server.ServeStream(serving, streams) })
	n.stop = func() {
		stop()
		served.Wait()
		_ = packets.Close()
		_ = streams.Close()
		udp.Close(ctx)
		tcp.Close(ctx)
	}
	return nil
}

// end stops answering. The lock is held.
func (n *names) end(context.Context) {
	if n.server != nil {
		n.stop()
		n.server, n.stop, n.addr = nil, nil, netip.AddrPort{}
	}
}

// close implements part.
func (n *names) close(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end(ctx)
}

// address is where names are answered; the zero value for nowhere.
func (n *names) address() netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return netip.AddrPort{}
	}
	return n.addr
}
