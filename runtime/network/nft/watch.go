package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Change is what somebody else did to the machine's packet filter.
type Change struct {
	// Ours says that a table of this instance was changed or removed, Foreign that one was that is no berth's. Both may be.
	Ours, Foreign bool
}

// subscribe begins to collect what others do, before anything is written: no change is missed.
func (f *Filter) subscribe() (err error) {
	f.changes, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("cannot watch the packet filter: %w", err)
	}
	if filter, err := bpf.Assemble(othersOnly(f.port)); err == nil {
		_ = f.changes.SetBPF(filter) // saves work; what comes is looked at in any case
	}
	if err := errors.Join(f.changes.SetReadBuffer(watchBuffer), f.changes.JoinGroup(unix.NFNLGRP_NFTABLES)); err != nil {
		return fmt.Errorf("cannot watch the packet filter: %w", err)
	}
	return nil
}

// Watch tells change what others do to the packet filter since Open, until ctx ends or the Filter is closed. It is called once. It waits for
// the kernel's word: on a quiet machine it costs nothing.
func (f *Filter) Watch(ctx context.Context, change func(Change)) error {
	conn := f.changes
	stop := context.AfterFunc(ctx, func() {
		if !f.closed.Swap(true) {
			_ = conn.Close()
		}
	})
	defer stop()
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil || f.closed.Load():
			return nil
		case errors.Is(err, unix.ENOBUFS): // more than the buffer holds: it may have been anything
			change(Change{Ours: true, Foreign: true})
		case err != nil:
			return fmt.Errorf("cannot watch the packet filter: %w", err)
		default:
			if c := f.look(messages); c != (Change{}) {
				change(c)
			}
		}
	}
}

// watchBuffer holds what a firewall manager tells when it writes thousands of rules at once.
const watchBuffer = 1 << 20

// othersOnly keeps what this Filter does itself from being told: the sender of a change stands in its header.
func othersOnly(own uint32) []bpf.Instruction {
	const offsetSender = 12 // nlmsg_pid
	// BPF loads in the network's order.
	port := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, own))
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetSender, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: port, SkipTrue: 1},
		bpf.RetConstant{Val: 1<<32 - 1},
		bpf.RetConstant{Val: 0},
	}
}

var berthTable = regexp.MustCompile(`^berth-[0-9a-f]{8}(-services|-policies|-probe)?$`)

func (f *Filter) look(messages []netlink.Message) Change {
	f.mu.Lock()
	own := f.port
	f.mu.Unlock()
	var c Change
	for _, m := range messages {
		if m.Header.PID == own || m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN {
			continue
		}
		name := tableOf(m.Data)
		c.Ours = c.Ours || name == f.rules.Table || name == f.rules.Services || name == f.rules.Policies
		c.Foreign = c.Foreign || !berthTable.MatchString(name)
	}
	return c
}

// tableOf is the name of the table that a message is about: in each kind it is the attribute number 1, after the header of nfnetlink.
func tableOf(data []byte) string {
	const header = 4
	if len(data) < header {
		return ""
	}
	attrs, err := netlink.NewAttributeDecoder(data[header:])
	if err != nil {
		return ""
	}
	for attrs.Next() {
		if attrs.Type() == unix.NFTA_TABLE_NAME {
			return strings.TrimRight(string(attrs.Bytes()), "\x00")
		}
	}
	return ""
}

// Restore writes all tables anew, those of the Services and of the policies when it is known what is in them.
func (f *Filter) Restore() error {
	err := f.Apply()
	if errors.Is(err, ErrNoBridge) {
		err = nil
	}
	return errors.Join(f.restorePolicies(), err, f.restoreServices())
}
