package network

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"berth/runtime/network/nft"
)

// restoreEvery bounds how often the tables are written anew for somebody who keeps taking them away.
const restoreEvery = time.Second

// Run keeps the network as it is until ctx ends: tables that somebody has removed or changed are written anew, what the kernel remembers of
// pods that are gone is forgotten. Between events it waits. An error of one of these is told to report, and the next event is another try.
func (n *Network) Run(ctx context.Context, report func(error)) error {
	changes := make(chan nft.Change, 1)
	var group sync.WaitGroup
	group.Go(func() {
		err := n.filter.Watch(ctx, func(c nft.Change) {
			select {
			case before := <-changes:
				c.Ours, c.Foreign = c.Ours || before.Ours, c.Foreign || before.Foreign
			default:
			}
			changes <- c // nobody else sends
		})
		if err != nil {
			report(err)
		}
	})
	n.serve(ctx, changes, report)
	group.Wait()
	return nil
}

func (n *Network) serve(ctx context.Context, changes <-chan nft.Change, report func(error)) {
	tell := func(err error) {
		if err != nil {
			report(err)
		}
	}
	calm := time.NewTimer(0) // since the last time the tables were written
	defer calm.Stop()
	ready, damaged := false, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.released:
			tell(n.forgetReleased(netip.Addr{}))
		case c := <-changes:
			damaged = damaged || c.Ours
		case <-calm.C:
			ready = true
		}
		if ready && damaged {
			tell(n.filter.Restore())
			ready, damaged = false, false
			calm.Reset(restoreEvery)
		}
	}
}
