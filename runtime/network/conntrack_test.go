package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"berth/runtime/network/conntrack"
)

// deafen lets a pod hear nothing until the returned function is called.
func deafen(t *testing.T, netns *os.File) (undo func()) {
	t.Helper()
	change := func(f func(*nftables.Conn)) {
		in(t, netns, func() error {
			c := &nftables.Conn{}
			f(c)
			return c.Flush()
		})
	}
	change(func(c *nftables.Conn) {
		policy := nftables.ChainPolicyDrop
		c.AddChain(&nftables.Chain{
			Name: "input", Table: c.AddTable(&nftables.Table{Name: "deaf", Family: nftables.TableFamilyIPv4}), Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &policy,
		})
	})
	return func() { change(func(c *nftables.Conn) { c.FlushRuleset() }) }
}

// Who asked a backend that did not hear it asks another one when that has left: the packet is sent again after a second, and must not go where
// soon nobody is. Who was answered stays.
func TestWhoWasNotAnsweredAsksAnother(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	c, _ := pod(t, n, "pod-c")
	toA, toB := tell(t, a, addrA, "a"), tell(t, b, addrB, "b")
	address := place(n.serviceCIDR, 20).String() + ":80"
	for name, from := range map[string]*os.File{"a pod": c, "the machine": machineNetns(t)} {
		t.Run(name, func(t *testing.T) {
			n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, toA))
			if _, err := ask(t, from, address, patience); err != nil {
				t.Fatal(err)
			}
			answered := flows(t, addrA)
			defer deafen(t, a)()
			answer := make(chan string, 1)
			go func() {
				got, err := ask(t, from, address, patience)
				if err != nil {
					got = err.Error()
				}
				answer <- got
			}()
			eventually(t, "asking", func() bool { return flows(t, addrA) > answered })
			n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, toB))
			if got := flows(t, addrA); got != answered {
				t.Errorf("%d flows of who left, want those %d with an answer", got, answered)
			}
			if got := <-answer; got[0] != 'b' {
				t.Errorf("got %q", got)
			}
		})
	}
}

// What a pod sends in a connection that the kernel has forgotten is not translated back, so the machine would not know it, and reset it. It waits
// instead until the other side speaks.
func TestAForgottenConnectionIsNotReset(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	var l net.Listener
	in(t, a, func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(addrA, 0).String())
		return err
	})
	defer l.Close()
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, l.Addr().String()))
	client, err := net.DialTimeout("tcp4", place(n.serviceCIDR, 20).String()+":80", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := n.forgetAddresses(map[netip.Addr]bool{addrA: true}); err != nil {
		t.Fatal(err)
	}
	before := dropped(t, n, nftables.TableFamilyIPv4)
	if err := server.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "dropping", func() bool { return dropped(t, n, nftables.TableFamilyIPv4) > before })
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	_ = client.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(server); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := io.ReadAll(client); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
}

// The same client comes again from the same port while what it had with a pod that is gone is being forgotten: what it has now, with another pod, is
// not. The kernel gives both the same number, most of the time.
func TestWhoComesAgainIsNotForgotten(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	toA, toB := tell(t, a, addrA, "a"), tell(t, b, addrB, "b")
	address := place(n.serviceCIDR, 20).String() + ":80"
	for range 5 {
		n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, toA))
		first, err := net.DialTimeout("tcp4", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(first); err != nil {
			t.Fatal(err)
		}
		_ = first.Close()
		n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, toB))
		again := net.Dialer{LocalAddr: first.LocalAddr(), Timeout: patience}
		err = conntrack.Forget(conntrack.Among{Answers: addrA}, func(f conntrack.Flow) bool {
			if f.From.String() != first.LocalAddr().String() {
				return false
			}
			second, err := again.Dial("tcp4", address)
			if err != nil {
				t.Errorf("from the same port: %v", err)
				return true
			}
			_ = second.Close()
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		kept := false
		err = conntrack.Forget(conntrack.Among{Answers: addrB}, func(f conntrack.Flow) bool {
			kept = kept || f.From.String() == first.LocalAddr().String()
			return false
		})
		if err != nil {
			t.Fatal(err)
		}
		if !kept {
			t.Error("it was forgotten, too")
		}
	}
}

// askToTheEnd lets the server close first, so that the client's port is free at once.
func askToTheEnd(address string) error {
	c, err := net.DialTimeout("tcp4", address, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = io.ReadAll(c)
	return err
}

// Clients that come again from the same few ports lose nothing while pods go one after the other, and what the kernel remembers of them is forgotten.
func TestForgettingHurtsNobodyElse(t *testing.T) {
	const ports = "/proc/sys/net/ipv4/ip_local_port_range"
	was, err := os.ReadFile(ports)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ports, []byte("40000 40300"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(ports, was, 0o644) })
	n := open(t)
	var addrs []netip.Addr
	var backends []string
	for i := range 3 {
		ns, addr := pod(t, n, fmt.Sprint("pod-", i))
		addrs, backends = append(addrs, addr), append(backends, tell(t, ns, addr, fmt.Sprint(i)))
	}
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, backends[0]))
	address := place(n.serviceCIDR, 20).String() + ":80"
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var mu sync.Mutex
	under := &sync.WaitGroup{} // connections that may go by the table before the last
	var workers sync.WaitGroup
	connections := 0
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				mine := under
				mine.Add(1)
				connections++
				mu.Unlock()
				if err := askToTheEnd(address); err != nil {
					t.Error(err)
				}
				mine.Done()
			}
		})
	}
	changes := 1
	for ; ctx.Err() == nil; changes++ {
		n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, backends[changes%3]))
		mu.Lock()
		before := under
		under = &sync.WaitGroup{}
		mu.Unlock()
		before.Wait()
		gone := map[netip.Addr]bool{addrs[(changes+2)%3]: true}
		for i := 0; changes%2 == 0 && i < fewAddresses; i++ { // so many that all is looked through
			gone[netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})] = true
		}
		if err := n.forgetAddresses(gone); err != nil {
			t.Error(err)
		}
	}
	workers.Wait()
	t.Logf("%d connections, %d changes", connections, changes)
}

// The kernel looks for what is in question itself.
func TestWhatIsForgotten(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	c, addrC := pod(t, n, "pod-c")
	d, _ := pod(t, n, "pod-d")
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, tell(t, a, addrA, "a")))
	if _, err := ask(t, b, place(n.serviceCIDR, 20).String()+":80", patience); err != nil {
		t.Fatal(err)
	}
	if _, err := say(dialUDP(t, b, echo(t, c, addrC, "c").String())); err != nil {
		t.Fatal(err)
	}
	silent := netip.AddrPortFrom(addrC, 9)
	defer deafen(t, c)()
	_, _ = ask(t, d, silent.String(), blocked)
	for name, tt := range map[string]struct {
		among conntrack.Among
		want  func(conntrack.Flow) bool
		count int
	}{
		"all":        {conntrack.Among{}, func(conntrack.Flow) bool { return true }, 3},
		"unanswered": {conntrack.Among{Unanswered: true}, func(f conntrack.Flow) bool { return !f.Answered && f.To == silent }, 1},
		"datagrams":  {conntrack.Among{Protocol: unix.IPPROTO_UDP}, func(f conntrack.Flow) bool { return f.Protocol == unix.IPPROTO_UDP && f.Answered }, 1},
		"from b":     {conntrack.Among{From: addrB}, func(f conntrack.Flow) bool { return f.From.Addr() == addrB }, 2},
		"a's answers": {conntrack.Among{Answers: addrA}, func(f conntrack.Flow) bool {
			return f.Answers.Addr() == addrA && f.Protocol == unix.IPPROTO_TCP && f.Answered && n.serviceCIDR.Contains(f.To.Addr()) && f.To.Port() == 80
		}, 1},
		"b's by UDP": {conntrack.Among{From: addrB, Protocol: unix.IPPROTO_UDP}, func(f conntrack.Flow) bool { return f.Answers.Addr() == addrC }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var seen []conntrack.Flow
			err := conntrack.Forget(tt.among, func(f conntrack.Flow) bool {
				if n.pool.Prefix().Contains(f.From.Addr()) { // not of another test
					seen = append(seen, f)
				}
				return false
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) != tt.count || slices.ContainsFunc(seen, func(f conntrack.Flow) bool { return !tt.want(f) }) {
				t.Errorf("got %d, want %d", len(seen), tt.count)
				for _, f := range seen {
					t.Log(f.Protocol, f.From, f.To, f.Answers, f.Answered)
				}
			}
		})
	}
	for _, gone := range []netip.Addr{addrA, addrC} {
		if err := n.forgetAddresses(map[netip.Addr]bool{gone: true}); err != nil {
			t.Fatal(err)
		}
		if got := flows(t, gone); got != 0 {
			t.Errorf("%d flows of %s", got, gone)
		}
	}
}
