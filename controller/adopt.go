package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// adopt takes over what runs: every sandbox becomes the Pod that it carries, with the status of the moment, before anybody decides anything.
func (c *Controller) adopt(ctx context.Context) error {
	list, err := c.opts.Pods.List(ctx)
	if err != nil {
		return fmt.Errorf("cannot list the pods of this machine: %w", err)
	}
	c.observed.set(list)
	live := map[types.UID]bool{}
	for i := range list {
		live[types.UID(list[i].UID)] = true
		c.adoptPod(ctx, &list[i])
	}
	c.store.KeepPods(live)
	c.adoptVolumes(ctx)
	c.findLost()
	for _, it := range c.store.List(reconcile.KindPod) {
		if err := c.refresh(ctx, it); err != nil {
			logr.FromContextOrDiscard(ctx).Error(err, "cannot tell the state of a pod yet", "pod", it.Key.String())
		}
	}
	return nil
}

// adoptPod makes a sandbox's Pod known. A sandbox that carries no Pod, or one whose name another has, belongs to nobody and goes.
func (c *Controller) adoptPod(ctx context.Context, status *runtime.PodStatus) {
	if _, ok := c.store.ByUID(types.UID(status.UID)); ok {
		return
	}
	log := logr.FromContextOrDiscard(ctx).WithValues("uid", status.UID)
	p, err := decodePod(status)
	if err == nil {
		key := reconcile.Key{Kind: reconcile.KindPod, Namespace: p.Namespace, Name: p.Name}
		if e, ok := c.store.EndingOf(p.UID); ok {
			p = ending(p, metav1.NewTime(e.At), e.Grace)
		}
		if err = c.store.Create(key, p, nil); err == nil {
			c.keepWish(p)
			return
		}
	}
	log.Error(err, "removing a sandbox that belongs to nobody")
	if err := c.opts.Pods.RemoveSandbox(ctx, status.UID); err != nil {
		log.Error(err, "cannot remove it; trying again at the next full look")
	}
}

func decodePod(status *runtime.PodStatus) (*corev1.Pod, error) {
	p := &corev1.Pod{}
	if err := json.Unmarshal(status.Object, p); err != nil {
		return nil, fmt.Errorf("cannot read the pod of sandbox %s: %w", status.UID, err)
	}
	if string(p.UID) != status.UID || p.Name == "" || p.Namespace == "" {
		return nil, fmt.Errorf("cannot read the pod of sandbox %s: it carries %q %s/%s", status.UID, p.UID, p.Namespace, p.Name)
	}
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = nil, nil
	return p, nil
}

// keepWish brings back the wish for a bare Pod that runs, where the state has lost it: only the rules for what vanishes may end it.
func (c *Controller) keepWish(p *corev1.Pod) {
	key := reconcile.Key{Kind: reconcile.KindBarePod, Namespace: p.Namespace, Name: p.Name}
	if metav1.GetControllerOfNoCopy(p) != nil || p.DeletionTimestamp != nil || p.Annotations[reconcile.AnnotationWish] == "" {
		return
	}
	wish := p.DeepCopy()
	wish.UID, wish.ResourceVersion, wish.Status = "", "", corev1.PodStatus{}
	delete(wish.Annotations, reconcile.AnnotationWish)
	if wish.Spec.NodeName == c.opts.Node.Name {
		wish.Spec.NodeName = "" // it was given when the Pod was made
	}
	err := c.store.Create(key, wish, &store.Source{Origin: manifests.Origin{}, Hash: ""})
	if err != nil && !errors.Is(err, store.ErrExists) {
		c.opts.Log.Error(err, "cannot keep the wish for a pod that runs", "pod", key.String())
	}
}

// refresh gives a Pod the status of the moment, and does nothing else.
func (c *Controller) refresh(ctx context.Context, it store.Item) error {
	p, ok := it.Object.(*corev1.Pod)
	if !ok {
		return nil
	}
	in, err := c.podInput(ctx, p)
	if err != nil {
		return err
	}
	for _, a := range pod.Plan(in).Actions {
		if status, ok := a.(reconcile.UpdateStatus); ok {
			return c.updateStatus(status)
		}
	}
	return nil
}

// lost are owners that objects name and the state does not have: it was damaged or removed. An owner that is made again under its name gets the UID
// it had, and so gets its pods back; until that can have happened, nothing of it is taken for garbage.
type lost struct {
	mu    sync.Mutex
	byKey map[reconcile.Key]types.UID
	byUID map[types.UID]reconcile.Key
}

func newLost() *lost {
	return &lost{byKey: map[reconcile.Key]types.UID{}, byUID: map[types.UID]reconcile.Key{}}
}

func (c *Controller) findLost() {
	for _, it := range c.store.List("") {
		owner := metav1.GetControllerOfNoCopy(it.Object)
		if owner == nil || owner.Kind == reconcile.KindPod { // a pod that is not on the machine does not come back
			continue
		}
		if _, ok := c.store.ByUID(owner.UID); !ok {
			key := reconcile.Key{Kind: owner.Kind, Namespace: it.Key.Namespace, Name: owner.Name}
			if _, taken := c.store.Get(key); !taken {
				c.lost.add(key, owner.UID)
			}
		}
	}
}

func (l *lost) add(key reconcile.Key, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byKey[key], l.byUID[uid] = uid, key
}

// uid returns the UID that an object shall have again, "" for a new one.
func (l *lost) uid(key reconcile.Key) types.UID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byKey[key]
}

// found ends the waiting for an object. It must be in the store before: at each moment it is in one of the two.
func (l *lost) found(key reconcile.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byUID, l.byKey[key])
	delete(l.byKey, key)
}

func (l *lost) has(uid types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.byUID[uid]
	return ok
}

func (l *lost) is(obj metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(obj)
	return owner != nil && l.has(owner.UID)
}

// giveUp ends the waiting for lost owners, and reports whether there were any.
func (l *lost) giveUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.byUID)
	clear(l.byKey)
	clear(l.byUID)
	return n > 0
}
