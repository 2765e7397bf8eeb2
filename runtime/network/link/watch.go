package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Event is what became of an interface of the machine, whoever did it.
type Event struct {
	// Link is the index of the interface; 0 for all of them, or when it is not known what happened.
	Link int
	// Name is that of the interface, when the kernel tells it.
	Name string
	// New says that the interface has just come, and is not up yet. Else it lost something: itself, being up, its place on a bridge, an address, a route of a
	// range that is watched, or forwarding.
	New bool
}

// Watch collects what becomes of interfaces, from OpenWatch on.
type Watch struct {
	conn   *netlink.Conn
	ranges []netip.Prefix
	closed atomic.Bool
}

// OpenWatch begins to watch the interfaces of this process's namespace, and the routes to these ranges. New interfaces are told, and what is of IPv6, when one
// of the ranges is of IPv6.
func OpenWatch(ranges ...netip.Prefix) (*Watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the interfaces: %w", err)
	}
	w := &Watch{conn: conn, ranges: ranges}
	if filter, err := bpf.Assemble(losses(ranges, w.ipv6())); err == nil {
		_ = conn.SetBPF(filter) // saves work; what comes is looked at in any case
	}
	groups := []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_NETCONF}
	if w.ipv6() {
		groups = append(groups, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_NETCONF)
	}
	for _, group := range groups {
		if err := conn.JoinGroup(group); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot watch the interfaces: %w", err), conn.Close())
		}
	}
	return w, nil
}

func (w *Watch) ipv6() bool {
	for _, p := range w.ranges {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}

// Run tells what happens, until ctx ends or the Watch is closed. It is called once. It waits for the kernel's word: on a quiet machine it costs nothing.
func (w *Watch) Run(ctx context.Context, tell func(Event)) error {
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	defer stop()
	for {
		messages, err := w.conn.Receive()
		switch {
		case ctx.Err() != nil || w.closed.Load():
			return nil
		case errors.Is(err, unix.ENOBUFS): // more than the buffer holds: it may have been anything
			tell(Event{})
		case err != nil:
			return fmt.Errorf("cannot watch the interfaces: %w", err)
		}
		for _, m := range messages {
			if e, ok := w.read(m); ok {
				tell(e)
			}
		}
	}
}

// Close ends Run. Nothing is told any more.
func (w *Watch) Close() error {
	if w.closed.Swap(true) {
		return nil
	}
	return w.conn.Close()
}

// The headers of what is told (struct ifinfomsg, ifaddrmsg, rtmsg, netconfmsg), and what of netconf counts (linux/netconf.h).
const (
	linkHeader, addressHeader, routeHeader, netconfHeader = 16, 8, 12, 4

	netconfIndex, netconfForwarding = 1, 2 // NETCONFA_IFINDEX, NETCONFA_FORWARDING
	allLinks                        = -1   // NETCONFA_IFINDEX_ALL
)

// read says what a message tells; false when it is no loss and nothing new.
func (w *Watch) read(m netlink.Message) (Event, bool) {
	switch data := m.Data; m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(data) < linkHeader {
			return Event{}, false
		}
		up, change := word(data[8:])&unix.IFF_UP != 0, word(data[12:])
		e := Event{Link: int(word(data[4:])), Name: name(data[linkHeader:]), New: m.Header.Type == unix.RTM_NEWLINK && change == ^uint32(0)}
		return e, e.New && w.ipv6() || m.Header.Type == unix.RTM_DELLINK || change&unix.IFF_UP != 0 && !up && !e.New
	case unix.RTM_DELADDR:
		if len(data) < addressHeader {
			return Event{}, false
		}
		return Event{Link: int(word(data[4:]))}, true
	case unix.RTM_DELROUTE:
		if len(data) < routeHeader {
			return Event{}, false
		}
		attrs := attributes(data[routeHeader:])
		addr, _ := netip.AddrFromSlice(attrs[unix.RTA_DST])
		for _, p := range w.ranges {
			if to := netip.PrefixFrom(addr, int(data[1])); to == p {
				return Event{Link: int(word(attrs[unix.RTA_OIF]))}, true
			}
		}
	case unix.RTM_NEWNETCONF:
		if len(data) < netconfHeader {
			return Event{}, false
		}
		attrs := attributes(data[netconfHeader:])
		forwarding, index := attrs[netconfForwarding], int(int32(word(attrs[netconfIndex])))
		if index == allLinks {
			index = 0
		}
		return Event{Link: index}, forwarding != nil && word(forwarding) == 0 && index >= 0
	default: // tells of no loss
	}
	return Event{}, false
}

// word is a number in the machine's order; 0 when it is not there.
func word(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func name(attrs []byte) string {
	return strings.TrimRight(string(attributes(attrs)[unix.IFLA_IFNAME]), "\x00")
}

func attributes(b []byte) map[uint16][]byte {
	all := map[uint16][]byte{}
	attrs, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil
	}
	for attrs.Next() {
		all[attrs.Type()] = attrs.Bytes()
	}
	return all
}
