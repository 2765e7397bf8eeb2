package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// other is a server of the machine's, as the tests want it. answer makes a message into the answer; false for none.
type other struct {
	asked, askedTCP atomic.Int32
	udp             *net.UDPConn
	tcp             *net.TCPListener
}

func newOther(t *testing.T, answer func(m *dnsmessage.Message, tcp bool) bool) *other {
	t.Helper()
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Fatal(err)
	}
	o := &other{udp: udp, tcp: tcp}
	var running sync.WaitGroup
	t.Cleanup(func() { udp.Close(); tcp.Close(); running.Wait() })
	make := func(packet []byte, tcp bool) []byte {
		var m dnsmessage.Message
		if err := m.Unpack(packet); err != nil {
			t.Errorf("asked badly: %v", err)
			return nil
		}
		m.Response = true
		if !answer(&m, tcp) {
			return nil
		}
		out, err := m.Pack()
		if err != nil {
			t.Errorf("the test's answer: %v", err)
		}
		return out
	}
	running.Go(func() {
		buf := [4096]byte{}
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf[:])
			if err != nil {
				return
			}
			o.asked.Add(1)
			if out := make(buf[:n], false); out != nil {
				_, _ = udp.WriteToUDPAddrPort(out, from)
			}
		}
	})
	running.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			o.askedTCP.Add(1)
			var length [2]byte
			_, _ = io.ReadFull(conn, length[:])
			buf := [4096]byte{}
			n, _ := io.ReadFull(conn, buf[:binary.BigEndian.Uint16(length[:])])
			if out := make(buf[:n], true); out != nil {
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
			conn.Close()
		}
	})
	return o
}

func (o *other) at() netip.AddrPort { return o.udp.LocalAddr().(*net.UDPAddr).AddrPort() }

func using(others ...*other) func(*Config) {
	return func(c *Config) {
		c.Upstream = func() []netip.AddrPort {
			var out []netip.AddrPort
			for _, o := range others {
				out = append(out, o.at())
			}
			return out
		}
	}
}

// addresses answers with addresses of the name asked for.
func addresses(ttl uint32, last ...byte) func(m *dnsmessage.Message, tcp bool) bool {
	return func(m *dnsmessage.Message, _ bool) bool {
		m.Additionals = nil
		for _, b := range last {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl},
				Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, b}},
			})
		}
		return true
	}
}

func code(c dnsmessage.RCode) func(m *dnsmessage.Message, tcp bool) bool {
	return func(m *dnsmessage.Message, _ bool) bool { m.Additionals, m.RCode = nil, c; return true }
}

func silent(*dnsmessage.Message, bool) bool { return false }

func TestOthersAreAsked(t *testing.T) {
	const www = "Success\nwww.Example.com. 60 A 192.0.2.1"
	many := make([]byte, 40)
	for name, tt := range map[string]struct {
		others []func(*dnsmessage.Message, bool) bool
		want   string
		asked  []int32
	}{
		"one knows":               {[]func(*dnsmessage.Message, bool) bool{addresses(60, 1)}, www, []int32{1}},
		"the second need not say": {[]func(*dnsmessage.Message, bool) bool{addresses(60, 1), addresses(60, 2)}, www, []int32{1, 0}},
		"the first is silent":     {[]func(*dnsmessage.Message, bool) bool{silent, addresses(60, 1)}, www, []int32{1, 1}},
		"the first fails":         {[]func(*dnsmessage.Message, bool) bool{code(dnsmessage.RCodeServerFailure), addresses(60, 1)}, www, []int32{1, 1}},
		"the first refuses":       {[]func(*dnsmessage.Message, bool) bool{code(dnsmessage.RCodeRefused), addresses(60, 1)}, www, []int32{1, 1}},
		"the first says no":       {[]func(*dnsmessage.Message, bool) bool{code(dnsmessage.RCodeNameError), addresses(60, 1)}, "NameError", []int32{1, 0}},
		"all fail":                {[]func(*dnsmessage.Message, bool) bool{code(dnsmessage.RCodeServerFailure)}, "ServerFailure", []int32{3}},
		"none":                    {nil, "ServerFailure", nil},
		"one does not know EDNS": {[]func(*dnsmessage.Message, bool) bool{func(m *dnsmessage.Message, tcp bool) bool {
			if len(m.Additionals) > 0 {
				return code(dnsmessage.RCodeFormatError)(m, tcp)
			}
			return addresses(60, 1)(m, tcp)
		}}, www, []int32{2}},
		"someone guesses first": {[]func(*dnsmessage.Message, bool) bool{func(m *dnsmessage.Message, tcp bool) bool {
			m.Questions[0].Name = dnsmessage.MustNewName("other.example.com.")
			return addresses(60, 66)(m, tcp)
		}, addresses(60, 1)}, www, []int32{1, 1}},
		"too much for UDP": {[]func(*dnsmessage.Message, bool) bool{func(m *dnsmessage.Message, tcp bool) bool {
			if !tcp {
				m.Truncated, m.Additionals = true, nil
				return true
			}
			return addresses(60, 1)(m, tcp)
		}}, www, []int32{1}},
		"too much for the client": {[]func(*dnsmessage.Message, bool) bool{addresses(60, many...)}, "Success tc", []int32{1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var others []*other
			for _, a := range tt.others {
				others = append(others, newOther(t, a))
			}
			s := newServer(t, using(others...))
			got := text(t, reply(t, s, packet(t, "www.Example.com.", dnsmessage.TypeA)))
			if name == "too much for the client" {
				got = got[:len(tt.want)]
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			for i, o := range others {
				if n := o.asked.Load(); n != tt.asked[i] {
					t.Errorf("server %d was asked %d times, want %d", i, n, tt.asked[i])
				}
			}
		})
	}
}

func TestAServerThatDoesNotAnswerIsAskedLast(t *testing.T) {
	bad, good := newOther(t, silent), newOther(t, addresses(0, 1))
	s := newServer(t, using(bad, good))
	for range 5 {
		reply(t, s, packet(t, "www.example.com.", dnsmessage.TypeA))
	}
	if n := bad.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times of 5", n)
	}
}

func TestAnExternalNameIsFollowed(t *testing.T) {
	o := newOther(t, func(m *dnsmessage.Message, _ bool) bool {
		m.Additionals = nil
		cdn := dnsmessage.MustNewName("cdn.example.net.")
		m.Answers = []dnsmessage.Resource{
			{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 7}, Body: &dnsmessage.CNAMEResource{CNAME: cdn}},
			{Header: dnsmessage.ResourceHeader{Name: cdn, Class: dnsmessage.ClassINET, TTL: 8}, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 9}}},
			{Header: dnsmessage.ResourceHeader{Name: cdn, Class: dnsmessage.ClassINET, TTL: 9}, Body: &dnsmessage.MXResource{Pref: 3, MX: cdn}},
		}
		return true
	})
	got := text(t, reply(t, newServer(t, using(o)), packet(t, "out.shop.svc.cluster.local.", dnsmessage.TypeA)))
	want := "Success\ncdn.example.net. 8 A 192.0.2.9\ncdn.example.net. 9 MX 3 cdn.example.net.\nout.shop.svc.cluster.local. 5 CNAME www.example.com.\nwww.example.com. 7 CNAME cdn.example.net."
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestOneQuestionAtATime(t *testing.T) {
	answer := make(chan struct{})
	o := newOther(t, func(m *dnsmessage.Message, tcp bool) bool {
		<-answer
		return addresses(60, 1)(m, tcp)
	})
	s := newServer(t, using(o))
	var clients sync.WaitGroup
	for range 50 {
		p := packet(t, "www.example.com.", dnsmessage.TypeA)
		clients.Go(func() {
			if got := text(t, reply(t, s, p)); got != "Success\nwww.example.com. 60 A 192.0.2.1" {
				t.Errorf("got %s", got)
			}
		})
	}
	close(answer)
	clients.Wait()
	// A machine that stood still for a moment may have asked again.
	if n := o.asked.Load(); n > 2 {
		t.Errorf("50 clients made %d questions", n)
	}
}

func TestCache(t *testing.T) {
	now := time.Unix(1000, 0)
	message := func(name string, change func(*dnsmessage.Message, bool) bool) (key, []byte) {
		k := key{name: wire(name), qtype: typeA}
		var m dnsmessage.Message
		_ = m.Unpack(k.failure())
		m.RCode = 0
		change(&m, false)
		out, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return k, out
	}
	no := func(ttl, minimum uint32) func(*dnsmessage.Message, bool) bool {
		return func(m *dnsmessage.Message, _ bool) bool {
			m.RCode = dnsmessage.RCodeNameError
			n := m.Questions[0].Name
			m.Authorities = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET, TTL: ttl}, Body: &dnsmessage.SOAResource{NS: n, MBox: n, MinTTL: minimum}}}
			return true
		}
	}
	for name, tt := range map[string]struct {
		change func(*dnsmessage.Message, bool) bool
		want   time.Duration
	}{
		"as long as it says":     {addresses(60, 1), time.Minute},
		"no longer than we like": {addresses(86400, 1), maxPositive},
		"not at all":             {addresses(0, 1), 0},
		"a negative time":        {addresses(1<<31, 1), 0},
		"a no":                   {no(20, 86400), 20 * time.Second},
		"a no by its minimum":    {no(3600, 10), 10 * time.Second},
		"a long no":              {no(3600, 3600), maxNegative},
		"a no without a time":    {code(dnsmessage.RCodeNameError), 0},
		"a failure":              {code(dnsmessage.RCodeServerFailure), time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			c := cache{}
			k, msg := message("www.example.com", tt.change)
			c.put(k, msg, now)
			if tt.want == 0 {
				if c.get(k, now) != nil {
					t.Fatal("it is kept")
				}
				return
			}
			if c.get(k, now.Add(tt.want-1)) == nil {
				t.Error("it is not kept")
			}
			if c.get(k, now.Add(tt.want)) != nil || len(c) != 0 {
				t.Error("it is kept for longer")
			}
		})
	}
	t.Run("times go by", func(t *testing.T) {
		c := cache{}
		k, msg := message("www.example.com", addresses(60, 1))
		c.put(k, msg, now)
		if got := text(t, c.get(k, now.Add(18*time.Second))); got != "Success\nwww.example.com. 42 A 192.0.2.1" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("it is bounded", func(t *testing.T) {
		c := cache{}
		for i := range 2 * maxEntries {
			k, msg := message("www.example.com", addresses(60, 1))
			k.qtype = uint16(i)
			c.put(k, msg, now)
		}
		if len(c) != maxEntries {
			t.Errorf("%d entries", len(c))
		}
	})
}

func TestAnotherNetworkKnowsOtherNames(t *testing.T) {
	at := newOther(t, addresses(60, 1))
	s := newServer(t, func(c *Config) { c.Upstream = func() []netip.AddrPort { return []netip.AddrPort{at.at()} } })
	p := packet(t, "www.example.com.", dnsmessage.TypeA)
	for range 3 {
		reply(t, s, p)
	}
	if n := at.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	at = newOther(t, addresses(60, 2))
	if got := text(t, reply(t, s, p)); got != "Success\nwww.example.com. 60 A 192.0.2.2" {
		t.Errorf("got %s", got)
	}
}

func TestNobodyAsksItself(t *testing.T) {
	s := newServer(t)
	var in []netip.AddrPort
	for _, a := range []string{"10.2.0.1:53", "10.3.0.10:53", "10.2.0.9:53", "192.0.2.1:53", "127.0.0.53:53"} {
		in = append(in, netip.MustParseAddrPort(a))
	}
	if diff := cmp.Diff("[192.0.2.1:53 127.0.0.53:53]", sprint(s.others(in))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestHostServers(t *testing.T) {
	for name, tt := range map[string]struct{ conf, behind, want string }{
		"its servers":           {"# x\nnameserver 192.0.2.1\nsearch example.com\nnameserver  2001:db8::1 # y\nnameserver 192.0.2.1\nnameserver x\nnameserver\n", "", "[192.0.2.1:53 [2001:db8::1]:53]"},
		"systemd-resolved":      {"nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n", "[192.0.2.1:53 127.0.0.53:53]"},
		"a server of its own":   {"nameserver 127.0.0.1\n", "", "[127.0.0.1:53]"},
		"one of two is its own": {"nameserver 127.0.0.1\nnameserver 192.0.2.1\n", "nameserver 192.0.2.9\n", "[127.0.0.1:53 192.0.2.1:53]"},
		"none":                  {"", "", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			conf, behind := filepath.Join(t.TempDir(), "conf"), filepath.Join(t.TempDir(), "behind")
			for file, text := range map[string]string{conf: tt.conf, behind: tt.behind} {
				if text != "" {
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			h := &hostServers{files: []string{conf, behind}}
			if diff := cmp.Diff(tt.want, sprint(h.list())); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if err := os.WriteFile(conf+".new", []byte("nameserver 192.0.2.77\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(conf+".new", conf); err != nil {
				t.Fatal(err)
			}
			h.looked = h.looked.Add(-time.Second)
			if diff := cmp.Diff("[192.0.2.77:53]", sprint(h.list())); diff != "" {
				t.Errorf("after a change: -want +got\n%s", diff)
			}
		})
	}
}

func TestAQuestionEndsWithItsServer(t *testing.T) {
	s := newServer(t, using(newOther(t, silent)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.upstream.asker(ctx)(key{name: wire("www.example.com"), qtype: typeA})
	}()
	cancel()
	<-done
}
