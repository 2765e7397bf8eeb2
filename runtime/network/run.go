package network

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"berth/runtime/network/nft"
)

const (
	// restoreEvery bounds how often the tables are written anew for somebody who keeps taking them away.
	restoreEvery = time.Second
	// forgetEvery bounds how often the kernel is to forget what it remembers of pods that are gone: on a busy machine that takes it most of a second.
	// A pod that gets such an address does not wait for it.
	forgetEvery = 5 * time.Second
	// settled is how long nobody may have changed the packet filter before paths are tested: firewall managers take several steps.
	settled = 500 * time.Millisecond
)

// Run keeps the network as it is until ctx ends: tables that somebody has removed or changed are written anew, the bridge, the pods' interfaces on it and the
// machine's settings are put back, which is told to report, what the kernel remembers of pods that are gone is forgotten, and whether a firewall lets packets of pods pass is tested at the start and when somebody has changed it. Between events it waits. An error of one of these is told to report, and the next event is another try.
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
	group.Go(func() { n.keepLinks(ctx, report) })
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
	calm, rest, test := time.NewTimer(0), time.NewTimer(0), time.NewTimer(0)
	defer calm.Stop()
	defer rest.Stop()
	defer test.Stop()
	if !n.cfg.AllowFirewall {
		tell(nft.Disallow(n.cfg.table()))
	}
	ready, damaged := false, false // ready: the tables have not been written for a while
	rested, released := false, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.released:
			released = true
		case <-rest.C:
			rested = true
		case <-n.rerouted:
			test.Reset(0)
		case <-test.C:
			n.test(ctx, tell)
		case c := <-changes:
			damaged = damaged || c.Ours
			test.Reset(settled)
		case <-calm.C:
			ready = true
		}
		if ready && damaged {
			tell(n.filter.Restore())
			ready, damaged = false, false
			calm.Reset(restoreEvery)
		}
		if rested && released {
			tell(n.forgetReleased(netip.Addr{}))
			rested, released = false, false
			rest.Reset(forgetEvery)
		}
	}
}

// test tests the paths of pods, and tells what is newly cut.
func (n *Network) test(ctx context.Context, tell func(error)) {
	before := n.Warnings()
	err := n.testPaths(ctx)
	if ctx.Err() != nil {
		return
	}
	tell(err)
	for _, w := range n.Warnings() {
		if !slices.Contains(before, w) {
			tell(errors.New(w))
		}
	}
}
