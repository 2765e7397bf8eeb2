package ingress

import (
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"berth/runtime"
)

// routes is what a table says. It is never changed.
type routes struct {
	// byHost has the rules of each host as it is written, in their order.
	byHost map[string][]*route
	https  uint16
}

// route is a rule, and whose turn it is.
type route struct {
	rule  *runtime.IngressRule
	place int // in the table
	turn  *atomic.Uint32
}

// newRoutes keeps the turns of the routes before: a table that changes all the time must not send everything to the first backend.
func newRoutes(t *runtime.Ingress, before *routes) *routes {
	out := &routes{byHost: map[string][]*route{}, https: t.HTTPS}
	for i := range t.Rules {
		rule := &t.Rules[i]
		turn := &atomic.Uint32{}
		for _, old := range before.byHost[rule.Host] {
			if old.rule.Path == rule.Path && old.rule.Exact == rule.Exact {
				turn = old.turn
			}
		}
		out.byHost[rule.Host] = append(out.byHost[rule.Host], &route{rule: rule, place: i, turn: turn})
	}
	return out
}

// find is the first rule that matches; nil for none.
func (r *routes) find(host, where string) *route {
	host = hostname(host)
	where = clean(where)
	hosts := []string{host, ""}
	if _, domain, ok := strings.Cut(host, "."); ok {
		hosts = append(hosts, "*."+domain)
	}
	var best *route
	for _, h := range hosts {
		for _, candidate := range r.byHost[h] {
			if best != nil && best.place < candidate.place {
				break
			}
			if matches(candidate.rule, where) {
				best = candidate
				break
			}
		}
	}
	return best
}

// matches by the rules of Kubernetes: a prefix is one of whole elements, and a slash at its end changes nothing.
func matches(rule *runtime.IngressRule, where string) bool {
	if rule.Exact {
		return where == rule.Path
	}
	prefix := strings.TrimSuffix(rule.Path, "/")
	rest, ok := strings.CutPrefix(where, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// clean is a path as backends understand it, so that nobody gets to /admin by /public/../admin where only /public leads to it.
func clean(where string) string {
	if !strings.HasPrefix(where, "/") {
		return where // "*" of OPTIONS
	}
	out := path.Clean(where)
	if out != "/" && strings.HasSuffix(where, "/") {
		out += "/"
	}
	return out
}

// hostname is a Host header without port, as rules have it.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// secured is the address of a request under HTTPS.
func (r *routes) secured(req *http.Request) string {
	host := req.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
		if strings.Contains(h, ":") {
			host = "[" + h + "]"
		}
	}
	if r.https != 443 {
		host += ":" + strconv.Itoa(int(r.https))
	}
	return "https://" + host + req.URL.RequestURI()
}

// order is the backends in the order of asking: each is the first one in turn.
func (r *route) order() []netip.AddrPort {
	all := r.rule.Backends
	first := int(r.turn.Add(1) % uint32(len(all))) //nolint:gosec // a table has no four billion backends
	return slices.Concat(all[first:], all[:first])
}
