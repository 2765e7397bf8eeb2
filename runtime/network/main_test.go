package network

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestMain runs the tests in a network namespace of their own, which is the machine to them: nothing of the real one can be touched.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		fmt.Println("these tests make network namespaces: run them as root (make root)")
		os.Exit(1)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// The first thread of a process never ends, so no goroutine may enter a namespace on it: the main one keeps it.
func init() { goruntime.LockOSThread() } //nolint:gochecknoinits // only an init runs on that thread for certain

const insideEnv = "BERTH_TEST_INSIDE"

// inside runs f on a thread of its own that ends with it; enter puts the thread where f is to run.
func inside(t testing.TB, enter func() error, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := enter()
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func in(t testing.TB, netns *os.File, f func() error) {
	t.Helper()
	inside(t, func() error { return unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET) }, f)
}

func newNetns(t testing.TB) *os.File {
	t.Helper()
	var netns *os.File
	inside(t, func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		netns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	t.Cleanup(func() { _ = netns.Close() })
	return netns
}

func newConfig(t testing.TB) Config {
	t.Helper()
	id := make([]byte, 4)
	_, _ = rand.Read(id)
	return Config{ID: hex.EncodeToString(id), StateDir: t.TempDir()}
}

// open opens an instance that is removed at the end, when the machine must look as before.
func open(t *testing.T) *Network {
	t.Helper()
	return openWith(t, newConfig(t))
}

func openWith(t *testing.T, cfg Config) *Network {
	t.Helper()
	before := machineState(t)
	n := mustOpen(t, cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.Remove(ctx); err != nil {
			t.Error(err)
		}
		if after := machineState(t); !slices.Equal(before, after) {
			t.Errorf("something is left or missing:\nbefore %v\nafter  %v", before, after)
		}
	})
	return n
}

// removeUnder removes an instance whose pods stay: that their interfaces end with them is not waited for.
func removeUnder(t *testing.T, n *Network) {
	t.Helper()
	for { // once more when the time went by waiting for others of this machine
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		err := Remove(ctx, n.cfg)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			continue
		}
		if err := errors.Join(err, n.Close()); err != nil {
			t.Fatal(err)
		}
		return
	}
}

func mustOpen(t testing.TB, cfg Config) *Network {
	t.Helper()
	start := time.Now()
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("opened in %v", time.Since(start))
	if w := n.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
	return n
}

// bridged runs a test both ways of what the kernel does with what a bridge forwards: with 1 it applies its IP rules to it, and translates addresses
// there. program is iptables, or ip6tables for IPv6.
func bridged(t *testing.T, program string, test func(*testing.T)) {
	t.Helper()
	for _, value := range []string{"0", "1"} {
		t.Run("bridge-nf-call-"+program+" "+value, func(t *testing.T) {
			path := "/proc/sys/net/bridge/bridge-nf-call-" + program
			was, err := os.ReadFile(path)
			if err != nil {
				t.Skip("this kernel has no br_netfilter")
			}
			t.Cleanup(func() { _ = os.WriteFile(path, was, 0o644) })
			if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
			test(t)
		})
	}
}

// machineState names every link, address, route and table, and ip_forward.
func machineState(t *testing.T) []string {
	t.Helper()
	var all []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		all = append(all, "link "+l.Attrs().Name)
	}
	// Link-local addresses, and what comes with them, come in the kernel's own time.
	own := func(ip net.IP) bool { return ip == nil || !ip.IsLinkLocalUnicast() && !ip.IsMulticast() }
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		addrs, err := netlink.AddrList(nil, family)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			if own(a.IP) {
				all = append(all, "address "+a.IPNet.String())
			}
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if r.Dst == nil || own(r.Dst.IP) {
				all = append(all, "route "+r.Dst.String())
			}
		}
	}
	tables, err := (&nftables.Conn{}).ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		all = append(all, fmt.Sprint("table ", table.Family, table.Name))
	}
	on, err := isOn(forwardingPath)
	if err != nil {
		t.Fatal(err)
	}
	redirects, err := isOn(redirectsPath)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, fmt.Sprint("forwarding ", on), fmt.Sprint("redirects ", redirects))
	for _, setting := range []string{"all/forwarding", "default/forwarding", "default/accept_ra", "uplink/accept_ra"} {
		value, _ := os.ReadFile(conf6 + setting)
		all = append(all, setting+" "+strings.TrimSpace(string(value)))
	}
	slices.Sort(all)
	return all
}

// pod makes a namespace and attaches it.
func pod(t testing.TB, n *Network, uid string) (*os.File, netip.Addr) {
	t.Helper()
	addr, err := n.Allocate(uid)
	if err != nil {
		t.Fatal(err)
	}
	netns := newNetns(t)
	if err := n.Attach(t.Context(), netns, uid, addr, n.Address6(addr)); err != nil {
		t.Fatal(err)
	}
	return netns, addr
}

// accept listens in a namespace and gives each connection to handle, which closes it.
func accept(t testing.TB, netns *os.File, addr netip.Addr, handle func(*net.TCPConn)) string {
	t.Helper()
	var l *net.TCPListener
	in(t, netns, func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			handle(c)
		}
	}()
	return l.Addr().String()
}

// serve answers each connection in a namespace with the address it came from.
func serve(t testing.TB, netns *os.File, addr netip.Addr) string {
	t.Helper()
	return accept(t, netns, addr, func(c *net.TCPConn) {
		_, _ = c.Write([]byte(c.RemoteAddr().(*net.TCPAddr).IP.String()))
		_ = c.Close()
	})
}

// tell answers each connection in a namespace with a word and the address it came from.
func tell(t testing.TB, netns *os.File, addr netip.Addr, word string) string {
	t.Helper()
	return accept(t, netns, addr, func(c *net.TCPConn) {
		_, _ = c.Write([]byte(word + " " + c.RemoteAddr().(*net.TCPAddr).IP.String()))
		_ = c.Close()
	})
}

// sink reads whatever comes.
func sink(t testing.TB, netns *os.File, addr netip.Addr) string {
	t.Helper()
	return accept(t, netns, addr, func(c *net.TCPConn) {
		go func() {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, c, make([]byte, 128<<10))
			_ = c.Close()
		}()
	})
}

// ask connects from a namespace and returns what serve answers: who the server thinks is asking.
func ask(t testing.TB, netns *os.File, server string, timeout time.Duration) (string, error) {
	t.Helper()
	var answer string
	var failed error
	in(t, netns, func() error {
		answer, failed = askHere(server, timeout)
		return nil
	})
	return answer, failed
}

func askHere(server string, timeout time.Duration) (string, error) {
	c, err := net.DialTimeout("tcp", server, timeout)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(timeout))
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// dropped adds up the packets that a table of the instance has dropped.
func dropped(t *testing.T, n *Network, family nftables.TableFamily) uint64 {
	t.Helper()
	conn := &nftables.Conn{}
	chains, err := conn.ListChainsOfTableFamily(family)
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for _, c := range chains {
		if c.Table.Name != n.cfg.table() {
			continue
		}
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if counter, ok := e.(*expr.Counter); ok {
					sum += counter.Packets
				}
			}
		}
	}
	return sum
}

// send puts raw frames on eth0 of a pod, all from one processor, whose queue keeps their order.
func send(t *testing.T, netns *os.File, frames ...[]byte) {
	t.Helper()
	in(t, netns, func() error {
		var allowed, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &allowed); err != nil {
			return err
		}
		for cpu := 0; one.Count() == 0; cpu++ {
			if allowed.IsSet(cpu) {
				one.Set(cpu)
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil { // the thread ends with this function
			return err
		}
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, frame := range frames {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: eth0.Index}); err != nil {
				return err
			}
		}
		return nil
	})
}

// udp is an Ethernet frame with an empty datagram.
func udp(from, to net.HardwareAddr, source, destination netip.Addr, port uint16) []byte {
	ip := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	ip = append(append(ip, source.AsSlice()...), destination.AsSlice()...)
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum = ^(sum>>16 + sum)
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	return slices.Concat(to, from, []byte{8, 0}, ip, []byte{0x30, 0x39, byte(port >> 8), byte(port), 0, 8, 0, 0})
}

// arp is an Ethernet frame that claims an address.
func arp(from, claimed net.HardwareAddr, source netip.Addr) []byte {
	broadcast := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	return slices.Concat(broadcast, from, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, claimed, source.AsSlice(), make([]byte, 6), source.AsSlice())
}

// waitLinks waits until the instance has so many pod interfaces.
func waitLinks(t *testing.T, n *Network, want int) {
	t.Helper()
	ch, done := make(chan netlink.LinkUpdate, 1024), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(ch, done); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for {
		names, err := ownLinks(n.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == want {
			return
		}
		select {
		case <-ch:
		case <-deadline:
			t.Fatalf("%d interfaces, want %d: %v", len(names), want, slices.Sorted(maps.Keys(names)))
		}
	}
}
