package controller

import (
	"context"
	"fmt"
	"sync"

	"github.com/go-logr/logr"

	"berth/manifests"
	"berth/runtime"
)

// Run works until ctx ends, and returns within 5 s after that. Everything that runs goes on running. It may be called once.
//
// The order at start keeps promises: the runtime is listened to before it is listed; pods are adopted before the first snapshot is read, and
// no worker decides anything before both are known.
func (c *Controller) Run(ctx context.Context) error {
	ctx = logr.NewContext(ctx, c.opts.Log)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { _ = c.store.Close() }()
	var group sync.WaitGroup
	heard := make(chan runtime.Event, 1024)
	group.Go(func() { c.listen(ctx, heard) })
	group.Go(func() { c.events.run(ctx) })
	if err := c.adopt(ctx); err != nil {
		cancel()
		group.Wait()
		return err
	}
	if err := c.ShowNode(ctx); err != nil {
		c.opts.Log.Error(err, "cannot show this machine")
	}
	group.Go(func() { c.observe(ctx, heard) })
	group.Go(func() { c.prober.Run(ctx) })
	group.Go(func() { c.measureDisks(ctx) })
	first := make(chan struct{})
	group.Go(func() { c.follow(ctx, first) })
	c.await(ctx, first)
	c.enqueueAll()
	c.setReady()
	for range c.opts.Workers {
		group.Go(func() { c.work(ctx) })
	}
	group.Go(func() { c.lookAtEverything(ctx) })
	<-ctx.Done()
	c.queue.Close()
	c.ingest.stop()
	group.Go(c.pulls.Wait)
	group.Go(c.hooks.under.Wait)
	group.Go(c.certificates.under.Wait)
	c.waitFor(&group)
	return nil
}

// follow applies the snapshots of the source; first is closed after the first of them. A source that fails is followed again: what was good last goes
// on meanwhile.
func (c *Controller) follow(ctx context.Context, first chan struct{}) {
	if c.opts.Source == nil {
		close(first)
		return
	}
	var once sync.Once
	for {
		err := c.opts.Source.Run(ctx, func(s manifests.Snapshot) {
			c.ingest.apply(s)
			once.Do(func() { close(first) })
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.warn(fmt.Sprintf("cannot follow the manifests: %v; trying again", err))
		}
		t := c.opts.Clock.NewTimer(sourcePause)
		select {
		case <-t.C():
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (c *Controller) await(ctx context.Context, first <-chan struct{}) {
	t := c.opts.Clock.NewTimer(firstSnapshot)
	defer t.Stop()
	select {
	case <-first:
	case <-t.C():
		c.opts.Log.Info("no manifests yet: going on with what was good last")
	case <-ctx.Done():
	}
}

// lookAtEverything is the only thing that happens without a reason.
func (c *Controller) lookAtEverything(ctx context.Context) {
	for pause := c.opts.secondLook; ; pause = fullEvery {
		t := c.opts.Clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C():
			c.lookAgain(ctx)
			c.enqueueAll()
		}
	}
}

func (c *Controller) waitFor(group *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	t := c.opts.Clock.NewTimer(stopWait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C():
		c.opts.Log.Info("ending although work is under way; it is taken up again at the next start")
	}
}

func (c *Controller) setReady() {
	c.mu.Lock()
	c.ready = true
	c.mu.Unlock()
	c.notify.notify()
}
