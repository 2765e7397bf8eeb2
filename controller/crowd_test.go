package controller

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/clock"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/runtime/runtimetest"
)

// crowd is a controller with one worker on a machine that costs nothing, so that a pass costs what deciding and keeping cost.
type crowd struct {
	*Controller
	b        *testing.B
	source   *files
	passes   atomic.Int64 // that asked a planner
	planning atomic.Int64 // nanoseconds: gathered and decided
}

func newCrowd(b *testing.B) *crowd {
	b.Helper()
	fake := runtimetest.New(clock.RealClock{})
	m := &crowd{b: b, source: &files{snapshots: make(chan manifests.Snapshot)}}
	c, err := New(Options{
		Pods: fake, Containers: fake, Executor: fake, Dialer: fake, Events: fake, Images: fake, Source: m.source, StateDir: b.TempDir(), Workers: 1,
		AllowPrune: true, PruneDelay: time.Millisecond, secondLook: time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	m.Controller = c
	for kind, plan := range c.planners {
		c.planners[kind] = func(c *Controller, ctx context.Context, it store.Item) (reconcile.Plan, error) {
			began := time.Now()
			p, err := plan(c, ctx, it)
			m.planning.Add(int64(time.Since(began)))
			m.passes.Add(1)
			return p, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background()) // b.Context ends before what is cleaned up
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Errorf("Run ended with %v", err)
		}
	})
	return m
}

// phase does something and waits until nothing is left to do. It reports what that took, by the clock in all and computing by pass.
func (m *crowd) phase(name string, do func(), done func() bool) {
	m.b.Helper()
	passes, planning := m.passes.Load(), m.planning.Load()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began, worked := time.Now(), cpuTime()
	do()
	m.rest(done)
	took := time.Since(began)
	worked = cpuTime() - worked
	runtime.ReadMemStats(&after)
	n := float64(max(1, m.passes.Load()-passes))
	m.b.ReportMetric(took.Seconds()*1e3, name+"-ms")
	m.b.ReportMetric(n, name+"-passes")
	m.b.ReportMetric(float64(worked.Nanoseconds())/n/1e3, name+"-cpu-µs/pass")
	m.b.ReportMetric(float64(m.planning.Load()-planning)/n/1e3, name+"-µs/plan")
	m.b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, name+"-allocs/pass")
}

// cpuTime is what this process has computed. By the clock, a pass would also have waited for others: planners collect what happens to pods.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rest waits until a condition holds and nothing is to be done.
func (m *crowd) rest(done func() bool) {
	m.b.Helper()
	changes, cancel := m.Changes()
	defer cancel()
	timeout := time.After(5 * time.Minute)
	for {
		select {
		case <-m.queue.Idle():
		case <-timeout:
			m.b.Fatal("not within five minutes")
		}
		if done() { // not Converged, which looks at every pod: that would be measured, too
			return
		}
		select {
		case <-changes:
		case <-timeout:
			m.b.Fatal("not within five minutes")
		}
	}
}

func deployments(n int, replicas int32) []manifests.Object {
	list := make([]manifests.Object, n)
	for i := range list {
		list[i] = web(fmt.Sprintf("web-%05d", i), "web:1", replicas)
	}
	return list
}

// BenchmarkDeployments makes Deployments of ten pods each, looks at everything once more when there is nothing to do, and changes one of them.
// Many of them must cost a pass what one does.
func BenchmarkDeployments(b *testing.B) {
	const replicas = 10
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("%dx%d", n, replicas), func(b *testing.B) {
			for b.Loop() {
				m, list := newCrowd(b), deployments(n, replicas)
				m.phase("up", func() { m.source.snapshots <- manifests.Snapshot{Objects: list} }, func() bool { return m.available() == n*replicas })
				m.phase("look", m.enqueueAll, func() bool { return true })
				list[0] = web("web-00000", "web:1", replicas+1)
				m.phase("edit", func() { m.source.snapshots <- manifests.Snapshot{Objects: list} }, func() bool { return m.available() == n*replicas+1 })
			}
			b.ReportMetric(0, "ns/op") // the phases are what is asked for
		})
	}
}

// available counts the pods that Deployments report.
func (m *crowd) available() (n int) {
	for _, it := range m.store.List(reconcile.KindDeployment) {
		n += int(it.Object.(*appsv1.Deployment).Status.AvailableReplicas)
	}
	return n
}

// BenchmarkEdit changes one object of a snapshot, beside few others and many.
func BenchmarkEdit(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("of%d", n), func(b *testing.B) {
			m, list := newCrowd(b), deployments(n, 0)
			m.source.snapshots <- manifests.Snapshot{Objects: list}
			m.rest(func() bool { return m.store.Len(reconcile.KindDeployment) == n })
			seconds := int32(0)
			for b.Loop() {
				seconds++
				list[n/2] = web(list[n/2].Key.Name, "web:1", 0, func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = seconds })
				m.source.snapshots <- manifests.Snapshot{Objects: list}
				m.rest(func() bool {
					it, ok := m.store.Get(reconcile.Key{Kind: reconcile.KindDeployment, Namespace: "shop", Name: list[n/2].Key.Name})
					return ok && it.Object.(*appsv1.Deployment).Spec.MinReadySeconds == seconds
				})
			}
		})
	}
}
