package network

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"berth/runtime/network/ipam"
)

const (
	forwardingPath = "/proc/sys/net/ipv4/ip_forward"
	// wasOffAlias on a bridge of ours says that ip_forward was 0 before. It is there for the next instance, which cannot see it any more.
	wasOffAlias = "berth: ip_forward was 0"
	// lockRetry is how long to wait before asking again for a lock that another starting instance holds for some milliseconds.
	lockRetry = 5 * time.Millisecond
	// defaultMTU is Ethernet's, for a machine without a default route.
	defaultMTU = 1500
)

var berthBridge = regexp.MustCompile(`^br-[0-9a-f]{8}$`)

// findings are what the machine looks like without this instance.
type findings struct {
	// taken are the ranges in use: routes, addresses and name servers.
	taken []netip.Prefix
	// own is the range our bridge already has, ports whether pods are on it.
	own   netip.Prefix
	ports bool
	mtu   int
	// forwardingWasOff says that ip_forward is 0, or was before another berth changed it.
	forwardingWasOff bool
}

// lockMachine keeps instances that start at the same time from choosing the same range. The lock is on a directory that every machine has,
// so nothing is left behind.
func lockMachine(ctx context.Context) (unlock func(), err error) {
	dir, err := os.Open("/sys/class/net")
	if err != nil {
		return nil, fmt.Errorf("cannot lock the network set-up: %w", err)
	}
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = dir.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("cannot lock the network set-up: %w", err), dir.Close())
		}
		timer := time.NewTimer(lockRetry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(fmt.Errorf("cannot lock the network set-up: %w", ctx.Err()), dir.Close())
		}
	}
}

func survey(cfg Config) (findings, error) {
	f := findings{mtu: defaultMTU}
	links, err := dump(netlink.LinkList)
	if err != nil {
		return f, fmt.Errorf("cannot list interfaces: %w", err)
	}
	own, mtus := 0, map[int]int{}
	for _, l := range links {
		a := l.Attrs()
		mtus[a.Index] = a.MTU
		switch {
		case a.Name == cfg.bridge():
			own = a.Index
		case strings.HasPrefix(a.Name, cfg.prefix()):
			f.ports = true
		}
		if berthBridge.MatchString(a.Name) && a.Alias == wasOffAlias {
			f.forwardingWasOff = true
		}
	}
	if err := f.addAddresses(own); err != nil {
		return f, err
	}
	if err := f.addRoutes(own, mtus); err != nil {
		return f, err
	}
	for _, server := range ResolvConf().Servers {
		if addr, err := netip.ParseAddr(server); err == nil && addr.Is4() {
			f.taken = append(f.taken, netip.PrefixFrom(addr, 32))
		}
	}
	on, err := forwarding()
	f.forwardingWasOff = f.forwardingWasOff || !on
	return f, err
}

// dumpTries bounds how often a list is asked for again that changed while the kernel wrote it.
const dumpTries = 20

// dump asks for a list until it is whole.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	var items []T
	var err error
	for range dumpTries {
		if items, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return items, err
}

func (f *findings) addAddresses(own int) error {
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return fmt.Errorf("cannot list addresses: %w", err)
	}
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP.To4())
		bits, _ := a.Mask.Size()
		if a.LinkIndex == own {
			f.own = netip.PrefixFrom(ip, bits).Masked()
			continue
		}
		f.taken = append(f.taken, netip.PrefixFrom(ip, bits).Masked())
	}
	return nil
}

func (f *findings) addRoutes(own int, mtus map[int]int) error {
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("cannot list routes: %w", err)
	}
	best := -1
	for _, r := range routes {
		bits := 0
		if r.Dst != nil {
			bits, _ = r.Dst.Mask.Size()
		}
		if bits == 0 {
			if mtu := mtus[r.LinkIndex]; r.Table == unix.RT_TABLE_MAIN && mtu > 0 && (best < 0 || r.Priority < best) {
				best, f.mtu = r.Priority, mtu
			}
			continue
		}
		if ip, ok := netip.AddrFromSlice(r.Dst.IP.To4()); ok && r.LinkIndex != own {
			f.taken = append(f.taken, netip.PrefixFrom(ip, bits).Masked())
		}
	}
	return nil
}

// decideRange says which range the pods get: the one asked for, the one they have, the kept one while it is free, or a new one.
func decideRange(cfg Config, kept netip.Prefix, f findings) (netip.Prefix, error) {
	if want := cfg.PodCIDR; want.IsValid() {
		if f.ports && f.own.IsValid() && f.own != want.Masked() {
			return want, fmt.Errorf("cannot use %s for pods: pods are running in %s; run berth down first", want, f.own)
		}
		if t, clash := ipam.Overlap(want, f.taken); clash {
			return want, fmt.Errorf("cannot use %s for pods: this machine uses %s already", want, t)
		}
		return want.Masked(), nil
	}
	if f.own.IsValid() && (f.ports || f.own == kept) {
		return f.own, nil
	}
	if _, clash := ipam.Overlap(kept, f.taken); kept.IsValid() && !clash {
		return kept, nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(cfg.ID))
	return ipam.Choose(f.taken, h.Sum32())
}

func forwarding() (bool, error) {
	text, err := os.ReadFile(forwardingPath)
	if err != nil {
		return false, fmt.Errorf("cannot read ip_forward: %w", err)
	}
	return strings.TrimSpace(string(text)) != "0", nil
}

func ensureForwarding() error {
	on, err := forwarding()
	if err != nil || on {
		return err
	}
	return setForwarding("1")
}

func setForwarding(value string) error {
	if err := os.WriteFile(forwardingPath, []byte(value), 0o644); err != nil {
		return fmt.Errorf("cannot set ip_forward: %w", err)
	}
	return nil
}
