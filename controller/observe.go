package controller

import (
	"context"
	"errors"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"berth/runtime"
)

// observed keeps what the machine last said about each pod. A mark means that it is not to be believed any more; who asks next looks.
type observed struct {
	runtime runtime.Pods

	mu   sync.Mutex // not held while the machine is asked
	pods map[string]*runtime.PodStatus
	old  map[string]bool
}

func newObserved(r runtime.Pods) *observed {
	return &observed{runtime: r, pods: map[string]*runtime.PodStatus{}, old: map[string]bool{}}
}

// get returns what the machine has of a pod, nil for nothing. What it returns is not changed later.
func (o *observed) get(ctx context.Context, uid string) (*runtime.PodStatus, error) {
	o.mu.Lock()
	if !o.old[uid] {
		defer o.mu.Unlock()
		return o.pods[uid], nil
	}
	delete(o.old, uid) // before looking: what happens meanwhile marks it again
	o.mu.Unlock()
	status, err := o.runtime.Status(ctx, uid)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		delete(o.pods, uid)
		return nil, nil
	case err != nil:
		o.old[uid] = true
		return nil, err
	}
	o.pods[uid] = &status
	return &status, nil
}

// peek returns what is known without asking.
func (o *observed) peek(uid string) *runtime.PodStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pods[uid]
}

// attempt is the newest attempt of a container that is known.
func (o *observed) attempt(uid, container string) uint32 {
	var n uint32
	if p := o.peek(uid); p != nil {
		for _, c := range p.Containers {
			if c.Name == container {
				n = max(n, c.Attempt)
			}
		}
	}
	return n
}

func (o *observed) set(list []runtime.PodStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range list {
		o.pods[list[i].UID] = &list[i]
	}
}

func (o *observed) mark(uid string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.old[uid] = true
}

func (o *observed) markAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for uid := range o.pods {
		o.old[uid] = true
	}
}

func (o *observed) forget(uid string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.pods, uid)
	delete(o.old, uid)
}

// listen hands on the events of the runtime for as long as ctx lasts. The runtime merges what comes while nobody reads.
func (c *Controller) listen(ctx context.Context, heard chan<- runtime.Event) {
	for ctx.Err() == nil {
		err := c.opts.Events.Events(ctx, func(e runtime.Event) {
			select {
			case heard <- e:
			case <-ctx.Done():
			}
		})
		if ctx.Err() != nil {
			return
		}
		logr.FromContextOrDiscard(ctx).Error(err, "cannot hear the runtime; listening again")
		t := c.opts.Clock.NewTimer(eventsPause)
		select {
		case <-t.C():
		case <-ctx.Done():
			t.Stop()
			return
		}
		select {
		case heard <- runtime.Event{}:
		case <-ctx.Done():
		}
	}
}

// observe makes due what events name.
func (c *Controller) observe(ctx context.Context, heard <-chan runtime.Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-heard:
			if e.UID == "" {
				c.lookAgain(ctx)
				continue
			}
			key, ok := c.store.ByUID(types.UID(e.UID))
			if !ok {
				continue // a pod that was forgotten: its end is told, too
			}
			c.observed.mark(e.UID)
			c.queue.Add(key)
		}
	}
}

// lookAgain believes nothing any more: it adopts what it does not know and makes every pod due.
func (c *Controller) lookAgain(ctx context.Context) {
	c.observed.markAll()
	c.images.expireAll(c.usedImages())
	list, err := c.opts.Pods.List(ctx)
	if err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, "cannot list the pods of this machine")
		return
	}
	for i := range list {
		c.adoptUnknown(ctx, list[i].UID)
	}
	c.enqueueAll()
}

// adoptUnknown adopts a pod that the store does not have. The list may be old: a pod that was removed and forgotten since must not come back. What
// is forgotten is gone from the machine before, so it is enough to ask the machine again after the store.
func (c *Controller) adoptUnknown(ctx context.Context, uid string) {
	if _, ok := c.store.ByUID(types.UID(uid)); ok {
		return
	}
	status, err := c.opts.Pods.Status(ctx, uid)
	if err != nil {
		return // gone, or asked about again at the next full look
	}
	c.adoptPod(ctx, &status)
	c.observed.mark(uid)
}
