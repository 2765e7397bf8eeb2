package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"berth/runtime"
)

// BenchmarkServices is what it costs to send new connections elsewhere: one backend of one Service of so many changes.
func BenchmarkServices(b *testing.B) {
	for _, count := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			n := mustOpen(b, newConfig(b))
			defer func() { _ = n.Remove(b.Context()) }()
			var all []runtime.Service
			for i := range count {
				s := service(n, 100+i, 80)
				for j := range 10 {
					s.Ports[0].Backends = append(s.Ports[0].Backends, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i % 250), byte(j)}), 80))
				}
				all = append(all, s)
			}
			start := time.Now()
			n.mustServe(b, netip.AddrPort{}, all...)
			whole := time.Since(start)
			port := uint16(0)
			for b.Loop() {
				port++
				backends := slices.Clone(all[0].Ports[0].Backends)
				backends[0] = netip.AddrPortFrom(backends[0].Addr(), port)
				all[0].Ports = []runtime.ServicePort{{Protocol: runtime.TCP, Port: 80, Backends: backends}}
				n.mustServe(b, netip.AddrPort{}, all...)
			}
			b.ReportMetric(float64(whole.Microseconds())/1000, "ms-for-all")
		})
	}
}

// BenchmarkThroughput sends over a bare veth pair, from pod to pod, from pod to pod by way of a Service, and where both pods are restricted, in turn:
// compare within one run.
func BenchmarkThroughput(b *testing.B) {
	n := mustOpen(b, newConfig(b))
	defer func() { _ = n.Remove(b.Context()) }()
	a, addrA := pod(b, n, "pod-a")
	c, addrC := pod(b, n, "pod-c")
	left, right := newNetns(b), newNetns(b)
	bare(b, left, right)
	toA := sink(b, a, addrA)
	n.mustServe(b, netip.AddrPort{}, service(n, 20, 80, toA))
	judged := runtime.Policies{Peers: []runtime.PolicyPeers{{Name: "peers-1", Pods: []netip.Addr{addrA, addrC}}}}
	for name, pod := range map[string]netip.Addr{"ingress-1": addrA, "egress-1": addrC} {
		d, _, _ := strings.Cut(name, "-")
		judged.Groups = append(judged.Groups, runtime.PolicyGroup{
			Name: name, Direction: runtime.Direction(d), Pods: []netip.Addr{pod}, Rules: []runtime.PolicyRule{{Peers: "peers-1"}},
		})
	}
	for _, path := range []struct {
		name string
		from *os.File
		to   string
	}{
		{"bare", left, sink(b, right, netip.MustParseAddr("198.18.0.2"))},
		{"pod", c, toA},
		{"service", c, place(n.serviceCIDR, 20).String() + ":80"},
		{"policies", c, toA},
	} {
		b.Run(path.name, func(b *testing.B) {
			if path.name == "policies" {
				n.mustJudge(b, judged)
				defer n.mustJudge(b, runtime.Policies{})
			}
			var conn net.Conn
			in(b, path.from, func() (err error) {
				conn, err = net.Dial("tcp4", path.to)
				return err
			})
			defer conn.Close()
			chunk := make([]byte, 128<<10)
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				if _, err := conn.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// bare joins two namespaces by a pair of interfaces and nothing else.
func bare(t testing.TB, left, right *os.File) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Namespace = "bare", netlink.NsFd(left.Fd())
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "bare", PeerNamespace: netlink.NsFd(right.Fd())}); err != nil {
		t.Fatal(err)
	}
	for ns, addr := range map[*os.File]string{left: "198.18.0.1/24", right: "198.18.0.2/24"} {
		in(t, ns, func() error {
			l, err := netlink.LinkByName("bare")
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(addr)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		})
	}
}
