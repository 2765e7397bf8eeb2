package network

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// run keeps the network until the test ends.
func run(t *testing.T, n *Network) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, func(err error) { t.Error(err) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// eventually waits for a condition that no event tells.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %v", what, patience)
		}
	}
}

// rulesOf counts the rules of each table of the instance.
func rulesOf(n *Network) map[string]int {
	c := &nftables.Conn{}
	all := map[string]int{}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyBridge} {
		chains, err := c.ListChainsOfTableFamily(family)
		if err != nil {
			return nil // changed meanwhile
		}
		for _, chain := range chains {
			rules, err := c.GetRules(chain.Table, chain)
			if err != nil {
				return nil
			}
			if strings.HasPrefix(chain.Table.Name, n.cfg.table()) {
				all[fmt.Sprint(chain.Table.Name, family)] += len(rules)
			}
		}
	}
	return all
}

func TestWhatOthersTakeAwayComesBack(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	c, _ := pod(t, n, "pod-c")
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, tell(t, a, addrA, "a")))
	want := rulesOf(n)
	run(t, n)
	ip := &nftables.Table{Name: n.cfg.table(), Family: nftables.TableFamilyIPv4}
	bridge := &nftables.Table{Name: n.cfg.table(), Family: nftables.TableFamilyBridge}
	services := &nftables.Table{Name: n.cfg.services(), Family: nftables.TableFamilyIPv4}
	for name, damage := range map[string]func(*nftables.Conn){
		"flush ruleset":        func(c *nftables.Conn) { c.FlushRuleset() },
		"delete a table":       func(c *nftables.Conn) { c.DelTable(services) },
		"delete another":       func(c *nftables.Conn) { c.DelTable(bridge) },
		"flush a table":        func(c *nftables.Conn) { c.FlushTable(ip) },
		"flush the elements":   func(c *nftables.Conn) { c.FlushSet(&nftables.Set{Table: services, Name: "ports"}) },
		"flush ruleset, again": func(c *nftables.Conn) { c.FlushRuleset() },
		"a rule of somebody's": func(c *nftables.Conn) {
			c.AddRule(&nftables.Rule{Table: ip, Chain: &nftables.Chain{Name: "forward", Table: ip}})
		},
		"an accept before ours": func(c *nftables.Conn) {
			c.InsertRule(&nftables.Rule{Table: ip, Chain: &nftables.Chain{Name: "prerouting", Table: ip}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &nftables.Conn{}
			damage(conn)
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the tables", func() bool { return maps.Equal(rulesOf(n), want) })
			eventually(t, "the Service", func() bool {
				_, err := ask(t, c, place(n.serviceCIDR, 20).String()+":80", patience)
				return err == nil
			})
		})
	}
	// A flush is told in many messages: on a busy machine the last of them come when the tables stand again, and they are written once more.
	quiet := func() { <-time.NewTimer(restoreEvery + restoreEvery/2).C }
	quiet()
	// What it does itself, and others in tables of their own, is no reason to write anything: the counters stay.
	_, err := ask(t, c, "169.254.169.254:80", blocked)
	if before := dropped(t, n, nftables.TableFamilyIPv4); err == nil || before == 0 {
		t.Fatalf("nothing was dropped: %v", err)
	}
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, tell(t, a, addrA, "a"), tell(t, a, addrA, "b")))
	conn := &nftables.Conn{}
	foreign := conn.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyIPv4})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	conn.DelTable(foreign)
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	quiet()
	if dropped(t, n, nftables.TableFamilyIPv4) == 0 {
		t.Error("the tables were written anew without a reason")
	}
}

func flows(t *testing.T, of netip.Addr) int {
	t.Helper()
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.InetFamily(familyOf(of)))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, f := range all {
		if f.Forward.SrcIP.Equal(of.AsSlice()) || f.Forward.DstIP.Equal(of.AsSlice()) || f.Reverse.SrcIP.Equal(of.AsSlice()) {
			count++
		}
	}
	return count
}

func TestANewPodGetsNothingOfTheOldOne(t *testing.T) {
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	s := service(n, 20, 9000)
	s.Ports[0].Protocol, s.Ports[0].Backends = "udp", []netip.AddrPort{echo(t, a, addrA, "a")}
	n.mustServe(t, netip.AddrPort{}, s)
	toA := serve(t, a, addrA)
	talk := func() {
		t.Helper()
		if _, err := say(dialUDP(t, b, place(n.serviceCIDR, 20).String()+":9000")); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(t, b, toA, patience); err != nil {
			t.Fatal(err)
		}
		if flows(t, addrA) < 2 || flows(t, addrB) < 2 {
			t.Fatalf("%d, %d flows", flows(t, addrA), flows(t, addrB))
		}
	}
	talk()
	again := mustOpen(t, n.cfg)
	defer again.Close()
	if err := again.Reserve("pod-b", addrB); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Allocate("pod-b"); err != nil {
		t.Fatal(err)
	}
	if got := flows(t, addrA); got != 0 {
		t.Errorf("%d flows of an address that nobody has in the new process", got)
	}
	if err := again.Reserve("pod-a", addrA); err != nil {
		t.Fatal(err)
	}
	talk()
	run(t, again)
	other, _ := pod(t, again, "pod-c")
	if _, err := ask(t, other, serve(t, b, addrB), patience); err != nil {
		t.Fatal(err)
	}
	again.Release("pod-a")
	eventually(t, "forgetting", func() bool { return flows(t, addrA) == 0 })
	if flows(t, addrB) == 0 {
		t.Error("flows of a pod that lives were forgotten")
	}
}
