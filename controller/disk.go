package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// What pods write to the disk is measured for those that state a limit, one after the other, and for nobody else: no limit, no cost.
const (
	// diskEvery is the pause between two rounds, as long as a kubelet's. So much a pod can write beyond its limit before it is found.
	diskEvery = 10 * time.Second
	// diskShare is how much longer than a round the pause after it is at least, so that measuring millions of files does not become all there is.
	diskShare = 4
)

// disks are measurements that say that a pod has written too much.
type disks struct {
	limited chan struct{} // a pod with a limit has come

	mu   sync.Mutex
	used map[types.UID]*runtime.DiskUsage
}

func newDisks() *disks {
	return &disks{limited: make(chan struct{}, 1), used: map[types.UID]*runtime.DiskUsage{}}
}

// of is what was measured of a pod that has written too much, nil for others. Nobody changes it.
func (d *disks) of(uid types.UID) *runtime.DiskUsage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used[uid]
}

func (d *disks) set(uid types.UID, u *runtime.DiskUsage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used[uid] = u
}

func (d *disks) forget(uid types.UID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.used, uid)
}

// measureDisks looks at pods that state a limit until ctx ends. While there are none it sleeps.
func (c *Controller) measureDisks(ctx context.Context) {
	if c.opts.Meter == nil {
		return
	}
	for ctx.Err() == nil {
		began := c.opts.Clock.Now()
		limited := c.limitedPods()
		for _, p := range limited {
			c.measureDisk(ctx, p)
		}
		if len(limited) == 0 {
			select {
			case <-ctx.Done():
			case <-c.disks.limited:
			}
			continue
		}
		t := c.opts.Clock.NewTimer(max(diskEvery, diskShare*c.opts.Clock.Now().Sub(began)))
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C():
		}
	}
}

// limitedPods are those that may write to the disk, and state how much.
func (c *Controller) limitedPods() []*corev1.Pod {
	var list []*corev1.Pod
	for _, it := range c.store.List(reconcile.KindPod) {
		p, ok := it.Object.(*corev1.Pod)
		if !ok || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded || !pod.DiskLimited(p) {
			continue
		}
		if _, evicted := c.store.EvictionOf(p.UID); !evicted {
			list = append(list, p)
		}
	}
	return list
}

// measureDisk measures a pod, and makes it due when it has written too much. What could only be measured in part is believed: there is at least so much.
func (c *Controller) measureDisk(ctx context.Context, p *corev1.Pod) {
	used, err := c.opts.Meter.DiskUsage(ctx, string(p.UID))
	if errors.Is(err, runtime.ErrNotFound) || ctx.Err() != nil {
		return
	}
	if err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, "cannot measure what a pod has written", "pod", p.Namespace+"/"+p.Name)
	}
	if pod.DiskExcess(p, &used) == "" {
		return
	}
	c.disks.set(p.UID, &used)
	c.queue.Add(reconcile.KeyOf(p))
}

// disksChanged notices pods that state a limit, and forgets those that are gone.
func (c *Controller) disksChanged(ch store.Change) {
	if ch.Key.Kind != reconcile.KindPod {
		return
	}
	if ch.Deleted {
		c.disks.forget(ch.UID)
		return
	}
	if p, ok := ch.New.(*corev1.Pod); ok && ch.Old == nil && pod.DiskLimited(p) {
		select {
		case c.disks.limited <- struct{}{}:
		default: // it is told already
		}
	}
}

// evict writes down that a pod is to end, before anything of it does: the next controller goes on with it.
func (c *Controller) evict(a reconcile.EvictPod) {
	c.store.SetEviction(a.UID, store.Eviction{At: c.opts.Clock.Now(), Message: a.Message})
	c.disks.forget(a.UID)
	c.queue.Add(a.Pod)
}

// evictionOf is why a pod is to end, nil when nobody has decided so.
func (c *Controller) evictionOf(uid types.UID) *pod.Eviction {
	if e, ok := c.store.EvictionOf(uid); ok {
		return &pod.Eviction{At: e.At, Message: e.Message}
	}
	return nil
}
