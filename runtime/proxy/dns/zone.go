package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"berth/runtime"
)

// Times to live, in seconds: those of CoreDNS. Services come and go, and who believes an old answer sends requests where nobody is.
const ttl = 5

// schema is the version of Kubernetes' DNS-based service discovery that is followed, and what the name dns-version says.
const schema = "1.1.0"

// zone is everything we answer for, as one table of Services says. It is never changed.
type zone struct {
	domain string
	// names has a node for each name that exists, also for those that only have others below them.
	names map[string]*node
	// podRanges and serviceRanges have the addresses with names.
	podRanges, serviceRanges []netip.Prefix
	serial                   uint32
	// known is false as long as there was no table: then nothing is said to be missing.
	known bool
}

// node is what a name has.
type node struct {
	// addrs are of IPv4, addrs6 of IPv6.
	addrs, addrs6 []netip.Addr

	srv   []service
	alias string
	ptr   []string
	text  string
	// apex is the top of the domain, ns its server.
	apex bool
	ns   string
}

// service is an SRV record.
type service struct {
	port   uint16
	target string
}

func newZone(cfg Config, t runtime.Traffic, serial uint32, known bool) *zone {
	z := &zone{domain: wire(cfg.Domain), names: map[string]*node{}, podRanges: cfg.Pods, serviceRanges: cfg.Services, serial: serial, known: known}
	server, n := z.at("ns.dns")
	if cfg.Address.IsValid() {
		n.add(cfg.Address)
	}
	_, n = z.at("")
	n.apex, n.ns = true, server
	_, n = z.at("dns-version")
	n.text = schema
	z.at("svc")
	z.at("pod")
	for _, s := range t.Services {
		z.add(s)
	}
	return z
}

// at is the whole name and the node of a name below the domain. It exists from now on, with all above it.
func (z *zone) at(relative string) (string, *node) {
	name := z.domain
	if relative != "" {
		prefix := wire(relative)
		if prefix == "" || len(prefix)-1+len(z.domain) > 255 {
			return "", &node{} // no name of DNS: nobody can ask for it
		}
		name = prefix[:len(prefix)-1] + z.domain
	}
	n := z.names[name]
	if n == nil {
		n = &node{}
		for above := name; above != z.domain; {
			if above = parent(above); z.names[above] != nil {
				break
			}
			z.names[above] = &node{}
		}
		z.names[name] = n
	}
	return name, n
}

func (z *zone) add(s runtime.Service) {
	below := s.Name + "." + s.Namespace + ".svc"
	name, n := z.at(below)
	if s.ExternalName != "" {
		n.alias = wire(s.ExternalName)
		return
	}
	for _, a := range s.ClusterIPs {
		n.add(a)
		z.reverse(a, name)
	}
	if len(s.ClusterIPs) > 0 {
		for _, p := range s.Ports {
			z.serve(below, p.Name, p.Protocol, service{p.Port, name})
		}
	}
	for _, h := range s.Hosts {
		z.host(n, below, h, len(s.ClusterIPs) == 0)
	}
}

// host gives an endpoint a name of its own, and where there is no other address also the Service's.
func (z *zone) host(of *node, below string, h runtime.Host, headless bool) {
	label := h.Name
	if label == "" {
		label = dashes.Replace(h.Address.String())
	}
	name, own := z.at(label + "." + below)
	own.add(h.Address)
	z.reverse(h.Address, name)
	if !headless {
		return
	}
	of.add(h.Address)
	for _, p := range h.Ports {
		z.serve(below, p.Name, p.Protocol, service{p.Port, name})
	}
}

// dashes makes a label of an address: 10-1-2-3, fd00--1.
var dashes = strings.NewReplacer(".", "-", ":", "-")

// add gives a name an address, once.
func (n *node) add(a netip.Addr) {
	if a.Is4() {
		n.addrs = insert(n.addrs, a)
	} else {
		n.addrs6 = insert(n.addrs6, a)
	}
}

// serve says where a port is served. All ports are at the Service's own name too, and those with a name at theirs.
func (z *zone) serve(name, port string, protocol runtime.Protocol, s service) {
	_, n := z.at(name)
	n.srv = insert(n.srv, s)
	if port != "" {
		_, n = z.at(fmt.Sprintf("_%s._%s.%s", port, protocol, name))
		n.srv = insert(n.srv, s)
	}
}

// reverse notes the name of an address.
func (z *zone) reverse(a netip.Addr, name string) {
	key := reverseName(a)
	n := z.names[key]
	if n == nil {
		n = &node{}
		z.names[key] = n
	}
	n.ptr = insert(n.ptr, name)
}

// find gives what a name of ours has, nil when it does not exist, and how many bytes of it are before the name of its zone. A name that is
// not ours is somebody else's to answer.
func (z *zone) find(name string) (n *node, below int, ours bool) {
	if below, ours = cut(name, z.domain); ours {
		if n = z.names[name]; n == nil {
			n = z.pod(name[:below])
		}
		return n, below, true
	}
	return z.findReverse(name)
}

// cut gives where a suffix of whole labels begins.
func cut(name, suffix string) (int, bool) {
	for at := 0; len(name)-at >= len(suffix); at += 1 + int(name[at]) {
		if len(name)-at == len(suffix) {
			return at, name[at:] == suffix
		}
	}
	return 0, false
}

// pod is what a name like 10-1-2-3.NAMESPACE.pod has. As in CoreDNS nobody checks that there is such a pod, but it must be an address of pods.
func (z *zone) pod(relative string) *node {
	var labels []string
	for at := 0; at < len(relative); at += 1 + int(relative[at]) {
		labels = append(labels, relative[at+1:at+1+int(relative[at])])
	}
	switch last := len(labels) - 1; {
	case last < 0 || last > 2 || labels[last] != "pod":
		return nil
	case last < 2:
		return &node{}
	}
	a, ok := ofLabel(labels[0])
	if !ok || !contains(z.podRanges, a) {
		return nil
	}
	n := &node{}
	n.add(a)
	return n
}

// ofLabel is the address that a label means: four numbers are of IPv4, all else of IPv6.
func ofLabel(label string) (netip.Addr, bool) {
	between := ":"
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		between = "."
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", between))
	return a, err == nil
}

// insert appends what is not there yet.
func insert[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}
