package dns

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Where the machine says who resolves names. When the first one only names a server on a loopback address, as systemd-resolved has it, the
// second may have the servers behind it.
const (
	resolvConf         = "/etc/resolv.conf"
	resolvConfUpstream = "/run/systemd/resolve/resolv.conf"
)

// hostServers are the machine's servers. Whether they changed is looked at when somebody asks, once a second at most: a quiet machine
// is left alone, and neither a swapped link nor a directory that comes later is missed.
type hostServers struct {
	files []string // of the tests

	mu      sync.Mutex
	looked  time.Time
	seen    []os.FileInfo
	servers []netip.AddrPort
}

// list is the servers in the order of asking.
func (h *hostServers) list() []netip.AddrPort {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if !h.looked.IsZero() && now.Sub(h.looked) < time.Second {
		return h.servers
	}
	h.looked = now
	files := h.files
	if files == nil {
		files = []string{resolvConf, resolvConfUpstream}
	}
	var seen []os.FileInfo
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			info = nil
		}
		seen = append(seen, info)
	}
	if !slices.EqualFunc(seen, h.seen, unchanged) {
		h.seen, h.servers = seen, readServers(files[0], files[1])
	}
	return h.servers
}

func unchanged(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// readServers are the servers of a resolver configuration. A server on a loopback address is one that pods cannot reach but we can; those
// behind it are asked first, as on a Kubernetes node, and it remains for when they do not answer.
func readServers(path, upstream string) []netip.AddrPort {
	servers := nameservers(path)
	if slices.ContainsFunc(servers, func(s netip.AddrPort) bool { return !s.Addr().IsLoopback() }) {
		return servers
	}
	behind := slices.DeleteFunc(nameservers(upstream), func(s netip.AddrPort) bool { return s.Addr().IsLoopback() })
	return append(behind, servers...)
}

func nameservers(path string) []netip.AddrPort {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []netip.AddrPort
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			out = insert(out, netip.AddrPortFrom(a.Unmap(), 53))
		}
	}
	return out
}
