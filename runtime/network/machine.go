package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
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
	// taken6 and own6 are as taken and own, when pods are to have IPv6.
	taken6 []netip.Prefix
	own6   netip.Prefix
	mtu    int
	// before are the settings as they are, or were before another berth changed them.
	before settings
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
		if berthBridge.MatchString(a.Name) {
			before := settingsOf(a.Alias)
			if !cfg.IPv6 { // who needs it remembers
				before.settings6 = settings6{}
			}
			f.before = f.before.or(before)
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
	now, err := readSettings()
	f.before = f.before.or(now)
	if err != nil || !cfg.IPv6 {
		return f, err
	}
	return f, f.survey6(links, own)
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
