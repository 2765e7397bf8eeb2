package controller

import (
	"context"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"berth/manifests"
	"berth/reconcile"
	"berth/runtime/runtimetest"
)

// TestAThousandPods scales to a thousand and back in real time, on a machine that costs nothing. The bound is twenty times what it computes: it
// catches work that grows with the square of the pods, and what else the machine has to do does not count.
func TestAThousandPods(t *testing.T) {
	const pods, bound = 1000, 3 * time.Second
	fake := runtimetest.New(clock.RealClock{})
	source := &files{snapshots: make(chan manifests.Snapshot)}
	c, err := New(Options{Pods: fake, Containers: fake, Executor: fake, Dialer: fake, Events: fake, Images: fake, Source: source, StateDir: t.TempDir(), secondLook: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	}()
	for _, n := range []int32{pods, 0} {
		before := cpuTime()
		source.snapshots <- manifests.Snapshot{Objects: []manifests.Object{web("web", "web:1", n)}}
		waitFor(t, c, func() bool { return (c.store.Len(reconcile.KindPod) > 0) == (n > 0) })
		s, err := c.Settled(ctx)
		if err != nil || len(s.Pods) != int(n) {
			t.Fatalf("Settled: %v, %d pods, want %d", err, len(s.Pods), n)
		}
		took := cpuTime() - before
		t.Logf("to %d pods: %s", n, took)
		if took > bound {
			t.Errorf("to %d pods took %s, want less than %s", n, took, bound)
		}
	}
}

func waitFor(t *testing.T, c *Controller, ok func() bool) {
	t.Helper()
	changes, cancel := c.Changes()
	defer cancel()
	timeout := time.After(time.Minute)
	for !ok() {
		select {
		case <-changes:
		case <-timeout:
			t.Fatal("not within a minute")
		}
	}
}
