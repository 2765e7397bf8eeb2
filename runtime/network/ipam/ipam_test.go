package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func mustPool(t *testing.T, prefix string, start uint32) *Pool {
	t.Helper()
	p, err := New(netip.MustParsePrefix(prefix), start)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustAllocate(t *testing.T, p *Pool, uid string) string {
	t.Helper()
	addr, err := p.Allocate(uid)
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

func TestEveryAddressOnceThenTheOldest(t *testing.T) {
	p := mustPool(t, "10.0.0.0/29", 3) // pods: .2 to .6
	var got []string
	for i := range 5 {
		got = append(got, mustAllocate(t, p, fmt.Sprint(i)))
	}
	if want := []string{"10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if again := mustAllocate(t, p, "1"); again != got[1] {
		t.Errorf("asking again: got %s, want %s", again, got[1])
	}
	if _, err := p.Allocate("6"); err == nil {
		t.Error("a full pool gave an address")
	}
	for _, uid := range []string{"3", "0", "4", "unknown"} {
		p.Release(uid)
	}
	for uid, want := range []string{got[3], got[0], got[4]} {
		if addr := mustAllocate(t, p, fmt.Sprint("new", uid)); addr != want {
			t.Errorf("reused: got %s, want %s, released longest ago", addr, want)
		}
	}
}

func TestReleasedIsReusedLast(t *testing.T) {
	p := mustPool(t, "10.0.0.0/29", 0)
	first := mustAllocate(t, p, "a")
	p.Release("a")
	for i := range 4 {
		if got := mustAllocate(t, p, fmt.Sprint(i)); got == first {
			t.Fatalf("%s was reused while others were fresh", got)
		}
	}
	if got := mustAllocate(t, p, "last"); got != first {
		t.Errorf("got %s, want %s", got, first)
	}
}

func TestReserve(t *testing.T) {
	p := mustPool(t, "10.0.0.0/29", 0)
	addr := netip.MustParseAddr("10.0.0.2")
	if err := p.Reserve("a", addr); err != nil {
		t.Fatal(err)
	}
	if err := p.Reserve("a", addr); err != nil {
		t.Errorf("again: %v", err)
	}
	if got := mustAllocate(t, p, "a"); got != "10.0.0.2" {
		t.Errorf("got %s", got)
	}
	if got := mustAllocate(t, p, "b"); got != "10.0.0.3" {
		t.Errorf("got %s, want the next free one", got)
	}
	for uid, bad := range map[string]string{"c": "10.0.0.2", "a": "10.0.0.4", "d": "10.0.0.1", "e": "10.0.0.7", "f": "10.0.0.0", "g": "10.0.1.2", "h": "::1"} {
		if err := p.Reserve(uid, netip.MustParseAddr(bad)); err == nil {
			t.Errorf("%s was reserved for %s", bad, uid)
		}
	}
	// Reserved out of the queue of released ones.
	p.Release("a")
	if err := p.Reserve("z", addr); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got := mustAllocate(t, p, fmt.Sprint(i)); got == "10.0.0.2" {
			t.Error("a reserved address was given to another pod")
		}
	}
	if _, err := p.Allocate("too many"); err == nil {
		t.Error("a full pool gave an address")
	}
	if p.Holder(addr) != "z" || p.Holder(netip.MustParseAddr("192.0.2.1")) != "" {
		t.Error("wrong holder")
	}
}

func TestSizes(t *testing.T) {
	for prefix, want := range map[string]int{"10.0.0.0/30": 1, "10.0.0.0/24": 253, "10.0.0.0/20": 4093, "10.0.0.0/8": 4093} {
		if got := len(mustPool(t, prefix, 7).Addresses()); got != want {
			t.Errorf("%s: got %d addresses, want %d", prefix, got, want)
		}
	}
	for _, prefix := range []string{"10.0.0.0/31", "10.0.0.1/24", "fd00::/64"} {
		if _, err := New(netip.MustParsePrefix(prefix), 0); err == nil {
			t.Errorf("%s is accepted", prefix)
		}
	}
}

func TestChoose(t *testing.T) {
	first, err := Choose(nil, 5)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Choose(nil, 5); again != first {
		t.Errorf("got %s, then %s", first, again)
	}
	seen := map[netip.Prefix]bool{}
	taken := []netip.Prefix{}
	for {
		p, err := Choose(taken, 5)
		if err != nil {
			break
		}
		if seen[p] || p.Bits() != rangeBits || !p.Addr().IsPrivate() {
			t.Fatalf("got %s again, or not a private /20", p)
		}
		seen[p] = true
		taken = append(taken, p)
	}
	if len(seen) != len(candidates()) {
		t.Errorf("%d of %d candidates were chosen before giving up", len(seen), len(candidates()))
	}
}
