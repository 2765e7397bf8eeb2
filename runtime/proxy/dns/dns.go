// Package dns answers for the names of Services and pods by Kubernetes' DNS-based service discovery, and asks the machine's own servers for
// every other name.
//
// A Server is fed whole tables by Apply and serves any number of sockets. A question about our names is answered where it is read, from a
// zone that is swapped and never changed. Other questions are answered from a bounded cache, or wait: by name once, however many ask.
//
//	packet → parse → zone.resolve ─┬─ ours ─────────────→ finish → client
//	                               └─ not ours → cache ─┬→
//	                                                     └ upstream: exchange with one server after the other
//
// Names are in wire form everywhere: lower case, a length before each label, and a zero at the end.
package dns

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"berth/runtime"
)

// Config is what a Server goes by for its whole life.
type Config struct {
	// Domain is what all our names end in: "cluster.local".
	Domain string
	// Address is where the server can be reached, the answer for its own name; the zero value for none.
	Address netip.Addr
	// Pods and Services are the ranges whose addresses have names, of IPv4 and of IPv6. A server of the machine's that is in one of them is ourselves.
	Pods, Services []netip.Prefix
	// Clients may ask, and this machine; others are not answered, as nobody can say whose address is misused. With none, everybody may.
	Clients []netip.Prefix
	// Upstream gives the servers for all other names; nil for those of the machine's resolver configuration. It is called for each question
	// that is not in the cache and must be quick.
	Upstream func() []netip.AddrPort
}

// Server answers questions. Its methods are safe for concurrent use.
type Server struct {
	cfg      Config
	zone     atomic.Pointer[zone]
	upstream *upstream
	limits   *limits
	machine  machine
}

// New makes a server that knows no table yet: for our names it says that it cannot tell.
func New(cfg Config) *Server {
	if cfg.Upstream == nil {
		cfg.Upstream = (&hostServers{}).list
	}
	s := &Server{cfg: cfg, limits: newLimits()}
	s.upstream = newUpstream(func() []netip.AddrPort { return s.others(cfg.Upstream()) })
	s.zone.Store(newZone(cfg, runtime.Traffic{}, 0, false))
	return s
}

// Apply makes t what names are answered by. It returns when no later question is answered by another table.
func (s *Server) Apply(t runtime.Traffic) {
	s.zone.Store(newZone(s.cfg, t, uint32(time.Now().Unix()), true))
}

// others are the servers that are not ourselves: asking us again would never end.
func (s *Server) others(servers []netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, at := range servers {
		if a := at.Addr(); a != s.cfg.Address && !contains(s.cfg.Pods, a) && !contains(s.cfg.Services, a) {
			out = append(out, at)
		}
	}
	return out
}

func (s *Server) mayAsk(client netip.Addr) bool {
	if len(s.cfg.Clients) == 0 {
		return true
	}
	return contains(s.cfg.Clients, client) || s.machine.has(client)
}

// contains tells whether an address is in one of the ranges; one that is not valid has none.
func contains(ranges []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}
