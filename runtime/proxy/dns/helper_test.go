package dns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"berth/runtime"
)

// The tests speak DNS with the Go project's package, which shares no code with ours.

var config = Config{
	Domain: "cluster.local", Address: netip.MustParseAddr("10.2.0.1"),
	Pods:     []netip.Prefix{netip.MustParsePrefix("10.2.0.0/20"), netip.MustParsePrefix("fd00:2::/64")},
	Services: []netip.Prefix{netip.MustParsePrefix("10.3.0.0/16"), netip.MustParsePrefix("fd00:3::/108")},
	Upstream: func() []netip.AddrPort { return nil },
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func table() runtime.Traffic {
	http := []runtime.HostPort{{Name: "http", Protocol: runtime.TCP, Port: 8080}}
	return runtime.Traffic{Services: []runtime.Service{
		{
			Namespace: "shop", Name: "web", ClusterIPs: []netip.Addr{addr("10.3.0.7")},
			Ports: []runtime.ServicePort{{Name: "http", Protocol: runtime.TCP, Port: 80}, {Name: "dns", Protocol: runtime.UDP, Port: 53}},
		},
		{Namespace: "shop", Name: "one", ClusterIPs: []netip.Addr{addr("10.3.0.8")}, Ports: []runtime.ServicePort{{Protocol: runtime.TCP, Port: 1}}},
		{Namespace: "shop", Name: "db", Hosts: []runtime.Host{
			{Name: "db-0", Address: addr("10.2.0.10"), Ports: http}, {Name: "db-1", Address: addr("10.2.0.11"), Ports: http}, {Address: addr("10.2.1.12"), Ports: http},
		}},
		{
			Namespace: "shop", Name: "both", ClusterIPs: []netip.Addr{addr("10.3.0.9"), addr("fd00:3::9")},
			Ports: []runtime.ServicePort{{Name: "http", Protocol: runtime.TCP, Port: 80}},
		},
		{Namespace: "shop", Name: "six", Hosts: []runtime.Host{{Name: "six-0", Address: addr("fd00:2::a"), Ports: http}, {Address: addr("fd00:2::b")}, {Address: addr("10.2.0.12")}}},
		{Namespace: "shop", Name: "empty"},
		{Namespace: "shop", Name: "out", ExternalName: "www.Example.com"},
		{Namespace: "shop", Name: "alias", ExternalName: "db.shop.svc.cluster.local."},
		{Namespace: "shop", Name: "gone", ExternalName: "no.shop.svc.cluster.local"},
		{Namespace: "shop", Name: "loop", ExternalName: "loop.shop.svc.cluster.local"},
	}}
}

func newServer(t testing.TB, change ...func(*Config)) *Server {
	t.Helper()
	cfg := config
	for _, c := range change {
		c(&cfg)
	}
	s := New(cfg)
	s.Apply(table())
	return s
}

// packet is what a client's question looks like; changes are made to the message before it is packed.
func packet(t testing.TB, name string, qtype dnsmessage.Type, change ...func(*dnsmessage.Message)) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: qtype, Class: dnsmessage.ClassINET}},
	}
	for _, c := range change {
		c(&m)
	}
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func withEDNS(size int) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) {
		var h dnsmessage.ResourceHeader
		_ = h.SetEDNS0(size, 0, false)
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
	}
}

// reply is the server's answer to a packet as by UDP, without a socket.
func reply(t testing.TB, s *Server, packet []byte) []byte {
	t.Helper()
	q, code, ok := parse(packet)
	if !ok {
		return nil
	}
	answer, _ := s.answer(&q, code, nil, s.upstream.asker(t.Context()))
	return q.finish(answer, q.limit())
}

// text shows a message: code and flags, then each record, sorted within its section.
func text(t testing.TB, msg []byte) string {
	t.Helper()
	if msg == nil {
		return "nothing"
	}
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("not a message: %v: %x", err, msg)
	}
	out := strings.TrimPrefix(m.RCode.String(), "RCode")
	if m.Authoritative {
		out += " aa"
	}
	if m.Truncated {
		out += " tc"
	}
	return out + list("", m.Answers) + list("auth: ", m.Authorities) + list("extra: ", m.Additionals)
}

func list(mark string, section []dnsmessage.Resource) string {
	var lines []string
	for _, r := range section {
		lines = append(lines, "\n"+mark+record1(r))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func record1(r dnsmessage.Resource) string {
	head := fmt.Sprintf("%s %d ", r.Header.Name, r.Header.TTL)
	switch b := r.Body.(type) {
	case *dnsmessage.AResource:
		return head + "A " + net.IP(b.A[:]).String()
	case *dnsmessage.AAAAResource:
		return head + "AAAA " + net.IP(b.AAAA[:]).String()
	case *dnsmessage.CNAMEResource:
		return head + "CNAME " + b.CNAME.String()
	case *dnsmessage.SRVResource:
		return head + fmt.Sprintf("SRV %d %d %d %s", b.Priority, b.Weight, b.Port, b.Target)
	case *dnsmessage.PTRResource:
		return head + "PTR " + b.PTR.String()
	case *dnsmessage.NSResource:
		return head + "NS " + b.NS.String()
	case *dnsmessage.TXTResource:
		return head + fmt.Sprintf("TXT %q", b.TXT)
	case *dnsmessage.SOAResource:
		return head + fmt.Sprintf("SOA %s %s %d", b.NS, b.MBox, b.MinTTL)
	case *dnsmessage.MXResource:
		return head + fmt.Sprintf("MX %d %s", b.Pref, b.MX)
	case *dnsmessage.OPTResource:
		return fmt.Sprintf("OPT %d %x", r.Header.Class, r.Header.TTL)
	case *dnsmessage.UnknownResource:
		return head + fmt.Sprintf("%d %q", b.Type, b.Data)
	}
	return head + fmt.Sprintf("%T", r.Body)
}

func sprint[T any](list []T) string { return fmt.Sprint(list) }
