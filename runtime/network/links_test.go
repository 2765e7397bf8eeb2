package network

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// told collects what Run reports, from several goroutines.
type told struct {
	stop func() // ends Run, and waits for its end

	mu   sync.Mutex
	said []string
}

func (r *told) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, err.Error())
}

func (r *told) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.said = nil }()
	return strings.Join(r.said, "\n")
}

// runTelling is as run, and collects what is reported instead of taking it for a failure.
func runTelling(t *testing.T, n *Network) *told {
	t.Helper()
	r := &told{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, r.add) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// Each is done by somebody to a network with two pods: they reach each other again, and the machine them, and what was done is told.
func TestWhatOthersDoToTheLinksIsUndone(t *testing.T) {
	n := open6(t)
	a, addrA := pod(t, n, "pod-a")
	b, addrB := pod(t, n, "pod-b")
	sixA, sixB := n.Address6(addrA), n.Address6(addrB)
	four, six := serve(t, a, addrA), serve(t, a, sixA)
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, four))
	n.mendEvery = 10 * time.Millisecond
	reports := runTelling(t, n)
	bridge, portA := n.Bridge(), n.linkName(addrA)
	nl := func(name string, do func(netlink.Link) error) func() error {
		return func() error {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return do(l)
		}
	}
	takeAddress := func(p netip.Prefix) func() error {
		return nl(bridge, func(l netlink.Link) error { return netlink.AddrDel(l, &netlink.Addr{IPNet: mask(p)}) })
	}
	takeRoute := func(p netip.Prefix) func() error {
		return nl(bridge, func(l netlink.Link) error {
			return netlink.RouteDel(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: mask(p), Scope: netlink.SCOPE_NOWHERE})
		})
	}
	gateway, gateway6 := netip.PrefixFrom(n.Gateway(), n.PodCIDR().Bits()), netip.PrefixFrom(n.Gateway6(), n.PodCIDR6().Bits())
	write := func(path, value string) func() error { return func() error { return set(path, value) } }
	for name, tt := range map[string]struct {
		do   func() error
		want []string
	}{
		"the bridge is removed":      {nl(bridge, netlink.LinkDel), []string{"bridge " + bridge + " was removed"}},
		"the bridge is set down":     {nl(bridge, netlink.LinkSetDown), []string{"bridge " + bridge + " was set down"}},
		"a pod is taken off":         {nl(portA, netlink.LinkSetNoMaster), []string{"interface " + portA + " of pod pod-a was taken off bridge " + bridge}},
		"a pod is set down":          {nl(portA, netlink.LinkSetDown), []string{"interface " + portA + " of pod pod-a was set down"}},
		"the address is taken":       {takeAddress(gateway), []string{gateway.String() + " was taken from bridge " + bridge}},
		"the address of IPv6 is":     {takeAddress(gateway6), []string{gateway6.String() + " was taken from bridge " + bridge}},
		"a route is removed":         {takeRoute(n.ServiceCIDR()), []string{"the route to " + n.ServiceCIDR().String() + " was removed"}},
		"a route of IPv6 is":         {takeRoute(n.PodCIDR6()), []string{"the route to " + n.PodCIDR6().String() + " was removed"}},
		"forwarding is switched off": {write(forwardingPath, "0"), []string{"net.ipv4.ip_forward was set to 0"}},
		"that of IPv6 is":            {write(forwarding6Path, "0"), []string{"net.ipv6.conf.all.forwarding was set to 0"}},
		"that of the bridge is":      {write("/proc/sys/net/ipv4/conf/"+bridge+"/forwarding", "0"), []string{"net.ipv4.conf." + bridge + ".forwarding was set to 0"}},
		"IPv6 is switched off there": {write(conf6+bridge+"/disable_ipv6", "1"), []string{"net.ipv6.conf." + bridge + ".disable_ipv6 was set to 1"}},
		"settings are loaded anew":   {func() error { return errors.Join(set(redirectsPath, "1"), set(forwardingPath, "0")) }, []string{"net.ipv4.conf.all.send_redirects was set to 1", "ip_forward was set to 0"}},
		"the network is stopped": {func() error {
			return errors.Join(nl(portA, netlink.LinkSetNoMaster)(), nl(bridge, netlink.LinkSetDown)())
		}, []string{"was set down", "was taken off"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := settingsNow()
			if err := tt.do(); err != nil {
				t.Fatal(err)
			}
			var said string // what else is said: Run tests the paths of pods, which may have failed in between
			eventually(t, "a word of "+strings.Join(tt.want, ", "), func() bool {
				said += reports.take()
				return !slices.ContainsFunc(tt.want, func(w string) bool { return !strings.Contains(said, w) })
			})
			if got, err := ask(t, b, four, patience); err != nil || got != addrB.String() {
				t.Errorf("pod to pod: got %q, %v, want %s", got, err, addrB)
			}
			if got, err := ask(t, b, six, patience); err != nil || got != sixB.String() {
				t.Errorf("pod to pod by IPv6: got %q, %v, want %s", got, err, sixB)
			}
			for _, to := range []string{four, six, place(n.ServiceCIDR(), 20).String() + ":80"} {
				if _, err := askHere(to, patience); err != nil {
					t.Errorf("machine to %s: %v", to, err)
				}
			}
			if after := settingsNow(); !slices.Equal(before, after) {
				t.Errorf("settings before %v\nafter %v", before, after)
			}
			time.Sleep(20 * n.mendEvery) // else they are a quarrel
			if said := reports.take(); strings.Contains(said, "somebody has changed") {
				t.Errorf("told once more: %s", said)
			}
		})
	}
	if w := n.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
}

func settingsNow() (all []string) {
	for _, path := range []string{forwardingPath, redirectsPath, forwarding6Path} {
		on, _ := isOn(path)
		all = append(all, path, map[bool]string{true: "1"}[on])
	}
	return all
}

// Pods that come and go are no reason to look.
func TestPodsThatComeAndGoAreNoDamage(t *testing.T) {
	n := open(t)
	lasting, addr := pod(t, n, "lasting")
	server := serve(t, lasting, addr)
	reports := runTelling(t, n)
	for range 3 {
		for _, uid := range []string{"a", "b", "c"} {
			netns, _ := pod(t, n, uid)
			if _, err := ask(t, netns, server, patience); err != nil {
				t.Error(err)
			}
			_ = netns.Close()
			n.Release(uid)
		}
		waitLinks(t, n, 1)
	}
	if said := reports.take(); said != "" {
		t.Error(said)
	}
}

// Two that want different things do not fight at the machine's cost; a person is told.
func TestAQuarrelIsSaidAndSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		damage := make(chan struct{}, 1)
		mended, warning, healthy := 0, "", false
		var said []string
		m := mender{
			every: mendEvery,
			mend: func() ([]string, error) {
				mended++
				if healthy {
					return nil, nil
				}
				return []string{"bridge br was set down"}, nil
			},
			tell:        func(err error) { said = append(said, err.Error()) },
			quarrelling: func(w string) { warning = w },
		}
		done := make(chan struct{})
		go func() { m.run(ctx, damage); close(done) }()
		pass := func(d time.Duration, every time.Duration) {
			for range d / every {
				wake(damage)
				time.Sleep(every)
				synctest.Wait()
			}
		}
		time.Sleep(time.Hour)
		if mended != 0 {
			t.Errorf("looked %d times without a reason", mended)
		}
		pass(200*time.Millisecond, 100*time.Millisecond)
		if mended != 1 || warning != "" || len(said) != 1 || !strings.Contains(said[0], "bridge br was set down") {
			t.Errorf("at first: mended %d times, told %q, warning %q", mended, said, warning)
		}
		pass(time.Hour, 100*time.Millisecond)
		if mended < 12 || mended > 25 || !strings.Contains(warning, "bridge br was set down") || !strings.Contains(warning, "every 5m0s") {
			t.Errorf("in an hour: mended %d times, warning %q", mended, warning)
		}
		time.Sleep(16 * time.Minute) // the last one waited for up to 5, and then nobody may come for 10
		if warning != "" {
			t.Errorf("in peace: warning %q", warning)
		}
		before := mended
		pass(200*time.Millisecond, 100*time.Millisecond)
		if mended != before+1 {
			t.Errorf("after peace: mended %d times, want once, at once", mended-before)
		}
		healthy = true
		time.Sleep(time.Minute)
		before = mended
		pass(10*time.Second, 10*time.Millisecond) // what is told and is no damage
		if got := mended - before; got > 11 {
			t.Errorf("looked %d times in 10 s", got)
		}
		cancel()
		<-done
	})
}

// What cannot be put back is tried again.
func TestARepairThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		damage := make(chan struct{}, 1)
		failed, told := 0, 0
		m := mender{
			every: mendEvery,
			mend: func() ([]string, error) {
				if failed++; failed < 4 {
					return nil, errors.New("busy")
				}
				return nil, nil
			},
			tell:        func(error) { told++ },
			quarrelling: func(string) {},
		}
		done := make(chan struct{})
		go func() { m.run(ctx, damage); close(done) }()
		wake(damage)
		time.Sleep(time.Minute)
		synctest.Wait()
		if failed != 4 || told != 3 {
			t.Errorf("tried %d times, told %d", failed, told)
		}
		cancel()
		<-done
	})
}

// An interface that comes while pods have IPv6 believes its router as it would without them: a card that is put in, a line that is dialled again.
func TestANewInterfaceBelievesItsRouter(t *testing.T) {
	next := outside(t)
	cfg := newConfig(t)
	cfg.IPv6 = true
	n := mustOpen(t, cfg)
	reports := runTelling(t, n)
	uplink, err := netlink.LinkByName("uplink")
	if err != nil {
		t.Fatal(err)
	}
	come := func(l netlink.Link) netlink.Link {
		t.Helper()
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netlink.LinkDel(l) })
		found, err := netlink.LinkByName(l.Attrs().Name) // with its MAC
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	card := func(name string) netlink.Link {
		return come(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: uplink.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE})
	}
	late := card("late")
	eventually(t, "believing", func() bool { return is(conf6+"late/accept_ra", "2") })
	asked := solicitations(t, next)
	if err := netlink.LinkSetUp(late); err != nil {
		t.Fatal(err)
	}
	eventually(t, "asking for a router", func() bool { return asked(late) })
	eventually(t, "learning the way out", func() bool { advertise(t, next, 1800); return haveWay(late) })

	// Those of containers are nobody's way out, and what has come after them was looked at after them.
	inside := newNetns(t)
	containers := []netlink.Link{
		come(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "foreign"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(inside.Fd())}),
		come(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "foreignbridge"}}),
	}
	last := card("last")
	eventually(t, "believing", func() bool { return is(conf6+"last/accept_ra", "2") })
	for _, l := range append(containers, last) {
		if name := l.Attrs().Name; l != last && !is(conf6+name+"/accept_ra", "1") {
			t.Errorf("%s believes what containers say", name)
		}
		if err := netlink.LinkDel(l); err != nil {
			t.Fatal(err)
		}
	}
	if said := reports.take(); said != "" {
		t.Error(said)
	}
	reports.stop()
	if err := n.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !is(conf6+"late/accept_ra", "1") {
		t.Error("late is not as it came")
	}
	// An interface of this kind may carry packets of others, so forwarding stayed.
	if err := set(forwardingPath, "0"); err != nil {
		t.Error(err)
	}
}

// solicitations says, of an interface on the wire to the machine next door, whether it has asked there for a router from now on.
func solicitations(t *testing.T, next *os.File) func(netlink.Link) bool {
	t.Helper()
	fd := -1
	in(t, next, func() (err error) {
		const all = unix.ETH_P_IPV6<<8&0xff00 | unix.ETH_P_IPV6>>8 // in the network's order
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
		return err
	})
	t.Cleanup(func() { _ = unix.Close(fd) })
	return func(l netlink.Link) bool {
		const ethernet, header, solicitation = 14, 40, 133
		frame := make([]byte, 2048)
		size, err := unix.Read(fd, frame)
		return err == nil && size > ethernet+header && frame[ethernet+6] == unix.IPPROTO_ICMPV6 && frame[ethernet+header] == solicitation && bytes.Equal(frame[6:12], l.Attrs().HardwareAddr)
	}
}
