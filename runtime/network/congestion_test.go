package network

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/runtime"
)

// What stays on the machine is sent under the plainest control, both ways and to Services too; what goes out under the one that the machine has.
func TestCongestion(t *testing.T) {
	allowed, err := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control") // of others a namespace cannot make its own
	if err != nil {
		t.Fatal(err)
	}
	others := slices.DeleteFunc(strings.Fields(string(allowed)), func(name string) bool { return name == runtime.NearCongestion })
	if len(others) == 0 {
		t.Skip("this kernel has no other control than " + runtime.NearCongestion)
	}
	usual := func() error {
		return os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(others[0]), 0o644) // that of the namespace
	}
	next := outside(t)
	n := open(t)
	a, addrA := pod(t, n, "pod-a")
	c, _ := pod(t, n, "pod-c")
	answering := make(chan string, 1)
	listen := func(netns *os.File, addr netip.Addr) string {
		in(t, netns, usual)
		return accept(t, netns, addr, func(c *net.TCPConn) {
			answering <- congestion(t, c)
			_ = c.Close()
		})
	}
	toA, toNext := listen(a, addrA), listen(next, netip.MustParseAddr("198.51.100.2"))
	n.mustServe(t, netip.AddrPort{}, service(n, 20, 80, toA))
	in(t, c, usual)
	toService := place(n.serviceCIDR, 20).String() + ":80"
	here := machineNetns(t)
	in(t, here, usual)
	for name, tc := range map[string]struct {
		from          *os.File
		to            string
		asks, answers string
	}{
		"pod to pod":         {c, toA, runtime.NearCongestion, runtime.NearCongestion},
		"pod to Service":     {c, toService, runtime.NearCongestion, runtime.NearCongestion},
		"machine to pod":     {here, toA, runtime.NearCongestion, runtime.NearCongestion},
		"machine to Service": {here, toService, runtime.NearCongestion, runtime.NearCongestion},
		"pod to outside":     {c, toNext, others[0], others[0]},
	} {
		in(t, tc.from, func() error {
			conn, err := net.DialTimeout("tcp4", tc.to, patience)
			if err != nil {
				return err
			}
			defer conn.Close()
			if asks, answers := congestion(t, conn.(*net.TCPConn)), <-answering; asks != tc.asks || answers != tc.answers {
				t.Errorf("%s: asked under %s and answered under %s, want %s and %s", name, asks, answers, tc.asks, tc.answers)
			}
			return nil
		})
	}
}

// congestion is the control that a connection is under.
func congestion(t *testing.T, c *net.TCPConn) (name string) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return ""
	}
	if cerr := raw.Control(func(fd uintptr) { name, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION) }); cerr != nil || err != nil {
		t.Error(cerr, err)
	}
	return strings.TrimRight(name, "\x00")
}
