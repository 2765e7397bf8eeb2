package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"berth/runtime"
)

const soa = "\nauth: cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 5"

func soaOf(zone string) string { return strings.Replace(soa, "auth: cluster.local.", "auth: "+zone, 1) }

// The ranges of IPv6, as names of addresses spell them.
var (
	fd002 = strings.Repeat("0.", 8) + "2.0.0.0.0.0.d.f.ip6.arpa."
	fd003 = strings.Repeat("0.", 19) + "3.0.0.0.0.0.d.f.ip6.arpa."
)

// nibbles is the name of an address: its last digit, as many zeros as are missing, and its range.
func nibbles(range6, last string) string {
	missing := 32 - 1 - strings.Count(range6, ".") + 2
	return last + "." + strings.Repeat("0.", missing) + range6
}

func TestAnswers(t *testing.T) {
	const a, aaaa, srv, ptr, cname = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV, dnsmessage.TypePTR, dnsmessage.TypeCNAME
	s := newServer(t)
	for name, tt := range map[string]struct {
		name  string
		qtype dnsmessage.Type
		want  string
	}{
		"a Service":                   {"web.shop.svc.cluster.local.", a, "Success aa\nweb.shop.svc.cluster.local. 5 A 10.3.0.7"},
		"its name as it was asked":    {"wEb.shOP.svc.Cluster.LOCAL.", a, "Success aa\nwEb.shOP.svc.Cluster.LOCAL. 5 A 10.3.0.7"},
		"it has no IPv6":              {"web.shop.svc.cluster.local.", aaaa, "Success aa" + soa},
		"its SOA as it was asked":     {"web.shop.svc.CLUSTER.local.", aaaa, "Success aa" + soaOf("CLUSTER.local.")},
		"no such Service":             {"no.shop.svc.cluster.local.", a, "NameError aa" + soa},
		"no such Service, no such v6": {"no.shop.svc.cluster.local.", aaaa, "NameError aa" + soa},
		"no such namespace":           {"web.no.svc.cluster.local.", a, "NameError aa" + soa},
		"a name below a Service":      {"no.web.shop.svc.cluster.local.", a, "NameError aa" + soa},
		"a search list's next try":    {"example.com.shop.svc.cluster.local.", a, "NameError aa" + soa},
		"a namespace is only above":   {"shop.svc.cluster.local.", a, "Success aa" + soa},
		"so is svc":                   {"svc.cluster.local.", a, "Success aa" + soa},
		"so is a protocol":            {"_tcp.web.shop.svc.cluster.local.", srv, "Success aa" + soa},
		"so is pod":                   {"pod.cluster.local.", a, "Success aa" + soa},
		"so is a namespace of pods":   {"shop.pod.cluster.local.", a, "Success aa" + soa},
		"headless": {
			"db.shop.svc.cluster.local.", a,
			"Success aa\ndb.shop.svc.cluster.local. 5 A 10.2.0.10\ndb.shop.svc.cluster.local. 5 A 10.2.0.11\ndb.shop.svc.cluster.local. 5 A 10.2.1.12",
		},
		"headless and nobody": {"empty.shop.svc.cluster.local.", a, "Success aa" + soa},
		"a pod of a set":      {"db-1.db.shop.svc.cluster.local.", a, "Success aa\ndb-1.db.shop.svc.cluster.local. 5 A 10.2.0.11"},
		"one by its address":  {"10-2-1-12.db.shop.svc.cluster.local.", a, "Success aa\n10-2-1-12.db.shop.svc.cluster.local. 5 A 10.2.1.12"},
		"a named port": {
			"_http._tcp.web.shop.svc.cluster.local.", srv,
			"Success aa\n_http._tcp.web.shop.svc.cluster.local. 5 SRV 0 100 80 web.shop.svc.cluster.local.\nextra: web.shop.svc.cluster.local. 5 A 10.3.0.7",
		},
		"not by that protocol":  {"_http._udp.web.shop.svc.cluster.local.", srv, "NameError aa" + soa},
		"a port has no address": {"_http._tcp.web.shop.svc.cluster.local.", a, "Success aa" + soa},
		"a port without a name": {"_._tcp.one.shop.svc.cluster.local.", srv, "NameError aa" + soa},
		"all ports at its name": {"one.shop.svc.cluster.local.", srv, "Success aa\none.shop.svc.cluster.local. 5 SRV 0 100 1 one.shop.svc.cluster.local.\nextra: one.shop.svc.cluster.local. 5 A 10.3.0.8"},
		"ports of a set's pods": {
			"_http._tcp.db.shop.svc.cluster.local.", srv, "Success aa" +
				"\n_http._tcp.db.shop.svc.cluster.local. 5 SRV 0 33 8080 10-2-1-12.db.shop.svc.cluster.local." +
				"\n_http._tcp.db.shop.svc.cluster.local. 5 SRV 0 33 8080 db-0.db.shop.svc.cluster.local." +
				"\n_http._tcp.db.shop.svc.cluster.local. 5 SRV 0 33 8080 db-1.db.shop.svc.cluster.local." +
				"\nextra: 10-2-1-12.db.shop.svc.cluster.local. 5 A 10.2.1.12" +
				"\nextra: db-0.db.shop.svc.cluster.local. 5 A 10.2.0.10" +
				"\nextra: db-1.db.shop.svc.cluster.local. 5 A 10.2.0.11",
		},
		"a pod":                          {"10-2-0-10.shop.pod.cluster.local.", a, "Success aa\n10-2-0-10.shop.pod.cluster.local. 5 A 10.2.0.10"},
		"a pod elsewhere":                {"10-9-0-10.shop.pod.cluster.local.", a, "NameError aa" + soa},
		"no pod":                         {"web.shop.pod.cluster.local.", a, "NameError aa" + soa},
		"whose address":                  {"7.0.3.10.in-addr.arpa.", ptr, "Success aa\n7.0.3.10.in-addr.arpa. 5 PTR web.shop.svc.cluster.local."},
		"whose address of pods":          {"11.0.2.10.in-addr.arpa.", ptr, "Success aa\n11.0.2.10.in-addr.arpa. 5 PTR db-1.db.shop.svc.cluster.local."},
		"nobody's address":               {"5.0.3.10.in-addr.arpa.", ptr, "NameError aa" + soaOf("3.10.in-addr.arpa.")},
		"nobody's address of pods":       {"9.0.2.10.in-addr.arpa.", ptr, "NameError aa" + soaOf("0.2.10.in-addr.arpa.")},
		"part of an address":             {"0.3.10.in-addr.arpa.", ptr, "Success aa" + soaOf("3.10.in-addr.arpa.")},
		"more than an address":           {"1.7.0.3.10.in-addr.arpa.", ptr, "NameError aa" + soaOf("3.10.in-addr.arpa.")},
		"not quite an address":           {"007.0.3.10.in-addr.arpa.", ptr, "NameError aa" + soaOf("3.10.in-addr.arpa.")},
		"an address that is not ours":    {"1.16.2.10.in-addr.arpa.", ptr, "ServerFailure"},
		"more than our addresses":        {"10.in-addr.arpa.", ptr, "ServerFailure"},
		"another word for a name":        {"alias.shop.svc.cluster.local.", cname, "Success aa\nalias.shop.svc.cluster.local. 5 CNAME db.shop.svc.cluster.local."},
		"another word for nothing":       {"gone.shop.svc.cluster.local.", a, "NameError aa\ngone.shop.svc.cluster.local. 5 CNAME no.shop.svc.cluster.local." + soa},
		"a word for itself":              {"loop.shop.svc.cluster.local.", a, "ServerFailure"},
		"a word for a name nobody knows": {"out.shop.svc.cluster.local.", a, "ServerFailure\nout.shop.svc.cluster.local. 5 CNAME www.example.com."},
		"another word, followed": {
			"alias.shop.svc.cluster.local.", a, "Success aa\nalias.shop.svc.cluster.local. 5 CNAME db.shop.svc.cluster.local." +
				"\ndb.shop.svc.cluster.local. 5 A 10.2.0.10\ndb.shop.svc.cluster.local. 5 A 10.2.0.11\ndb.shop.svc.cluster.local. 5 A 10.2.1.12",
		},
		"of two families":                {"both.shop.svc.cluster.local.", a, "Success aa\nboth.shop.svc.cluster.local. 5 A 10.3.0.9"},
		"of two families, the other one": {"both.shop.svc.cluster.local.", aaaa, "Success aa\nboth.shop.svc.cluster.local. 5 AAAA fd00:3::9"},
		"a port of two families": {
			"_http._tcp.both.shop.svc.cluster.local.", srv, "Success aa\n_http._tcp.both.shop.svc.cluster.local. 5 SRV 0 100 80 both.shop.svc.cluster.local." +
				"\nextra: both.shop.svc.cluster.local. 5 A 10.3.0.9\nextra: both.shop.svc.cluster.local. 5 AAAA fd00:3::9",
		},
		"a headless one of IPv6": {
			"six.shop.svc.cluster.local.", aaaa, "Success aa\nsix.shop.svc.cluster.local. 5 AAAA fd00:2::a\nsix.shop.svc.cluster.local. 5 AAAA fd00:2::b",
		},
		"its pods of IPv4":                 {"six.shop.svc.cluster.local.", a, "Success aa\nsix.shop.svc.cluster.local. 5 A 10.2.0.12"},
		"a pod of IPv6 only":               {"six-0.six.shop.svc.cluster.local.", a, "Success aa" + soa},
		"one by its address of IPv6":       {"fd00-2--b.six.shop.svc.cluster.local.", aaaa, "Success aa\nfd00-2--b.six.shop.svc.cluster.local. 5 AAAA fd00:2::b"},
		"a pod by IPv6":                    {"fd00-2--7.shop.pod.cluster.local.", aaaa, "Success aa\nfd00-2--7.shop.pod.cluster.local. 5 AAAA fd00:2::7"},
		"a pod by IPv6 has no IPv4":        {"fd00-2--7.shop.pod.cluster.local.", a, "Success aa" + soa},
		"a pod elsewhere by IPv6":          {"fd00-9--7.shop.pod.cluster.local.", aaaa, "NameError aa" + soa},
		"whose address of IPv6":            {nibbles(fd003, "9"), ptr, "Success aa\n" + nibbles(fd003, "9") + " 5 PTR both.shop.svc.cluster.local."},
		"whose address of pods of IPv6":    {nibbles(fd002, "a"), ptr, "Success aa\n" + nibbles(fd002, "a") + " 5 PTR six-0.six.shop.svc.cluster.local."},
		"nobody's address of IPv6":         {nibbles(fd003, "8"), ptr, "NameError aa" + soaOf(fd003)},
		"nobody's address of pods of IPv6": {nibbles(fd002, "8"), ptr, "NameError aa" + soaOf(fd002)},
		"part of an address of IPv6":       {"0." + fd002, ptr, "Success aa" + soaOf(fd002)},
		"not quite an address of IPv6":     {"00." + fd002, ptr, "NameError aa" + soaOf(fd002)},
		"no address of ours of IPv6":       {"0.8.b.d.0.1.0.0.2.ip6.arpa.", ptr, "ServerFailure"},

		"the version":      {"dns-version.cluster.local.", dnsmessage.TypeTXT, "Success aa\ndns-version.cluster.local. 5 TXT [\"1.1.0\"]"},
		"the domain":       {"cluster.local.", a, "Success aa" + soa},
		"its servers":      {"cluster.local.", dnsmessage.TypeNS, "Success aa\ncluster.local. 5 NS ns.dns.cluster.local."},
		"its SOA":          {"cluster.local.", dnsmessage.TypeSOA, "Success aa" + strings.Replace(soa, "auth: ", "", 1)},
		"the server":       {"ns.dns.cluster.local.", a, "Success aa\nns.dns.cluster.local. 5 A 10.2.0.1"},
		"everything":       {"web.shop.svc.cluster.local.", dnsmessage.TypeALL, "Success aa\nweb.shop.svc.cluster.local. 5 13 \"\\aRFC8482\\x00\""},
		"the whole zone":   {"cluster.local.", dnsmessage.TypeAXFR, "Refused"},
		"not the domain":   {"xcluster.local.", a, "ServerFailure"},
		"above the domain": {"local.", a, "ServerFailure"},
		"the root":         {".", dnsmessage.TypeNS, "ServerFailure"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, text(t, reply(t, s, packet(t, tt.name, tt.qtype)))); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestBeforeTheFirstTableNothingIsSaidToBeMissing(t *testing.T) {
	s := New(config)
	if got := text(t, reply(t, s, packet(t, "web.shop.svc.cluster.local.", dnsmessage.TypeA))); got != "ServerFailure" {
		t.Errorf("got %s", got)
	}
	s.Apply(runtime.Traffic{})
	if got := text(t, reply(t, s, packet(t, "web.shop.svc.cluster.local.", dnsmessage.TypeA))); got != "NameError aa"+soa {
		t.Errorf("got %s", got)
	}
}

func TestOddPackets(t *testing.T) {
	s, good := newServer(t), "web.shop.svc.cluster.local."
	for name, tt := range map[string]struct {
		change func(*dnsmessage.Message)
		cut    int
		want   string
	}{
		"an answer":         {change: func(m *dnsmessage.Message) { m.Response = true }, want: "nothing"},
		"half a header":     {cut: 11, want: "nothing"},
		"half a question":   {cut: 20, want: "FormatError"},
		"no question":       {change: func(m *dnsmessage.Message) { m.Questions = nil }, want: "FormatError"},
		"two questions":     {change: func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }, want: "FormatError"},
		"an update":         {change: func(m *dnsmessage.Message) { m.OpCode = 5 }, want: "NotImplemented"},
		"class CHAOS":       {change: func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }, want: "Refused"},
		"EDNS":              {change: withEDNS(4096), want: "Success aa\nweb.shop.svc.cluster.local. 5 A 10.3.0.7\nextra: OPT 1232 0"},
		"EDNS of a name":    {change: func(m *dnsmessage.Message) { withEDNS(512)(m); m.Additionals[0].Header.Name = m.Questions[0].Name }, want: "FormatError\nextra: OPT 1232 0"},
		"EDNS twice":        {change: func(m *dnsmessage.Message) { withEDNS(512)(m); withEDNS(512)(m) }, want: "FormatError\nextra: OPT 1232 0"},
		"a later EDNS":      {change: func(m *dnsmessage.Message) { withEDNS(512)(m); m.Additionals[0].Header.TTL = 1 << 16 }, want: "Success\nextra: OPT 1232 1000000"},
		"signatures please": {change: func(m *dnsmessage.Message) { withEDNS(512)(m); m.Additionals[0].Header.TTL = 0x8000 }, want: "Success aa\nweb.shop.svc.cluster.local. 5 A 10.3.0.7\nextra: OPT 1232 8000"},
	} {
		t.Run(name, func(t *testing.T) {
			var changes []func(*dnsmessage.Message)
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			p := packet(t, good, dnsmessage.TypeA, changes...)
			if tt.cut > 0 {
				p = p[:tt.cut]
			}
			if diff := cmp.Diff(tt.want, text(t, reply(t, s, p))); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestOrderIsChance: clients take the first address, so each has to be the first one for some.
func TestOrderIsChance(t *testing.T) {
	s, first := newServer(t), map[string]bool{}
	for range 200 {
		var m dnsmessage.Message
		if err := m.Unpack(reply(t, s, packet(t, "db.shop.svc.cluster.local.", dnsmessage.TypeA))); err != nil {
			t.Fatal(err)
		}
		first[record1(m.Answers[0])] = true
	}
	if len(first) != 3 {
		t.Errorf("of three addresses %d were the first", len(first))
	}
}

func TestManyEndpointsAreCut(t *testing.T) {
	many := runtime.Service{Namespace: "shop", Name: "many"}
	for i := range 200 {
		a := addr("10.2.3.0").As4()
		a[3] = byte(i)
		many.Hosts = append(many.Hosts, runtime.Host{Address: netip.AddrFrom4(a), Ports: []runtime.HostPort{{Name: "http", Protocol: runtime.TCP, Port: 80}}})
	}
	s := New(config)
	s.Apply(runtime.Traffic{Services: []runtime.Service{many}})
	for name, tt := range map[string]struct {
		packet    []byte
		limit     int
		truncated bool
	}{
		"plain":            {packet(t, "many.shop.svc.cluster.local.", dnsmessage.TypeA), plainSize, true},
		"EDNS":             {packet(t, "many.shop.svc.cluster.local.", dnsmessage.TypeA, withEDNS(800)), 800, true},
		"EDNS without end": {packet(t, "many.shop.svc.cluster.local.", dnsmessage.TypeA, withEDNS(65535)), udpSize, true},
		"ports":            {packet(t, "_http._tcp.many.shop.svc.cluster.local.", dnsmessage.TypeSRV, withEDNS(1232)), udpSize, true},
	} {
		t.Run(name, func(t *testing.T) {
			out := reply(t, s, tt.packet)
			var m dnsmessage.Message
			if err := m.Unpack(out); err != nil {
				t.Fatal(err)
			}
			if m.Truncated != tt.truncated || len(out) > tt.limit || len(out) < tt.limit-80 {
				t.Errorf("%d of %d bytes, truncated %v", len(out), tt.limit, m.Truncated)
			}
			if len(m.Answers) < 10 {
				t.Errorf("old musl would find %d addresses", len(m.Answers))
			}
		})
	}
}
