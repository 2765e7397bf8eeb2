package controller

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/claim"
	"berth/reconcile/pod"
)

// defaultClass is on the StorageClass of claims that name none.
const defaultClass = "storageclass.kubernetes.io/is-default-class"

func claimKey(namespace, name string) reconcile.Key {
	return reconcile.Key{Kind: reconcile.KindPersistentVolumeClaim, Namespace: namespace, Name: name}
}

func volumeKey(name string) reconcile.Key {
	return reconcile.Key{Kind: reconcile.KindPersistentVolume, Name: name}
}

// planClaim gathers what may become of a claim.
func (c *Controller) planClaim(_ context.Context, it store.Item) (reconcile.Plan, error) {
	pvc, ok := it.Object.(*corev1.PersistentVolumeClaim)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	in := claim.Input{Claim: pvc, Now: c.opts.Clock.Now()}
	if pvc.Spec.VolumeName == "" {
		c.ingest.whole() // before anything else is looked at
		in.Volumes = all[*corev1.PersistentVolume](c.store, reconcile.KindPersistentVolume)
		in.Former = c.formerHolders(in.Volumes)
	} else if v, ok := store.Get[*corev1.PersistentVolume](c.store, volumeKey(pvc.Spec.VolumeName)); ok {
		in.Volumes = []*corev1.PersistentVolume{v}
	}
	in.Users, in.Class = claim.Users(c.podsWith(it.Key)), c.classOf(pvc)
	return claim.Plan(in), nil
}

// planVolume gathers what a volume is held by.
func (c *Controller) planVolume(_ context.Context, it store.Item) (reconcile.Plan, error) {
	pv, ok := it.Object.(*corev1.PersistentVolume)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	in := claim.VolumeInput{Volume: pv, Stated: it.Source != nil}
	if ref := pv.Spec.ClaimRef; ref != nil {
		key := claimKey(ref.Namespace, ref.Name)
		in.Claim, _ = store.Get[*corev1.PersistentVolumeClaim](c.store, key)
		in.Users = claim.Users(c.podsWith(key))
	}
	return claim.PlanVolume(in), nil
}

// whole waits until no snapshot is half taken: the volume that a claim is meant to hold may be its last object.
func (in *ingest) whole() {
	in.mu.Lock()
	defer in.mu.Unlock()
}

func all[T store.Object](s *store.Store, kind string) []T {
	items := s.List(kind)
	out := make([]T, 0, len(items))
	for _, it := range items {
		if o, ok := it.Object.(T); ok {
			out = append(out, o)
		}
	}
	return out
}

// classOf is the class that a claim names, or the newest default class when it names none; nil for none.
func (c *Controller) classOf(pvc *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	if name, ok := claim.ClassName(pvc); ok {
		class, _ := store.Get[*storagev1.StorageClass](c.store, reconcile.Key{Kind: reconcile.KindStorageClass, Name: name})
		return class
	}
	var best *storagev1.StorageClass
	for _, class := range all[*storagev1.StorageClass](c.store, reconcile.KindStorageClass) {
		if class.Annotations[defaultClass] == "true" && (best == nil || best.CreationTimestamp.Before(&class.CreationTimestamp)) {
			best = class
		}
	}
	return best
}

// podClaims are the claims that a pod mounts, as they are now.
func (c *Controller) podClaims(p *corev1.Pod) map[string]pod.Claim {
	var out map[string]pod.Claim
	for _, key := range claimsOf(p) {
		pvc, ok := store.Get[*corev1.PersistentVolumeClaim](c.store, key)
		if !ok {
			continue
		}
		state := pod.Claim{Claim: pvc}
		state.Volume, _ = store.Get[*corev1.PersistentVolume](c.store, volumeKey(pvc.Spec.VolumeName))
		if claim.OneAtATime(pvc) {
			if holder := c.turn(key, p); holder != nil && holder.UID != p.UID {
				state.Holder = holder.Name
			}
		}
		if out == nil {
			out = map[string]pod.Claim{}
		}
		out[key.Name] = state
	}
	return out
}

func claimsOf(p *corev1.Pod) []reconcile.Key {
	var keys []reconcile.Key
	for i := range p.Spec.Volumes {
		if name := claim.NameFor(p, &p.Spec.Volumes[i]); name != "" {
			keys = append(keys, claimKey(p.Namespace, name))
		}
	}
	return keys
}

// mounts knows which pods mount which claims.
type mounts struct {
	mu     sync.Mutex
	claims map[reconcile.Key][]reconcile.Key            // by pod
	pods   map[reconcile.Key]map[reconcile.Key]struct{} // by claim
}

func newMounts() *mounts {
	return &mounts{claims: map[reconcile.Key][]reconcile.Key{}, pods: map[reconcile.Key]map[reconcile.Key]struct{}{}}
}

// set says what a pod mounts; nil when it is gone. It returns what the pod mounts or did.
func (m *mounts) set(key reconcile.Key, claims []reconcile.Key) []reconcile.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	had := m.claims[key]
	if slices.Equal(had, claims) {
		return had
	}
	for _, k := range had {
		delete(m.pods[k], key)
		if len(m.pods[k]) == 0 {
			delete(m.pods, k)
		}
	}
	delete(m.claims, key)
	for _, k := range claims {
		m.claims[key] = claims
		if m.pods[k] == nil {
			m.pods[k] = map[reconcile.Key]struct{}{}
		}
		m.pods[k][key] = struct{}{}
	}
	return append(slices.Clone(had), claims...)
}

func (m *mounts) of(claim reconcile.Key) []reconcile.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := make([]reconcile.Key, 0, len(m.pods[claim]))
	for k := range m.pods[claim] {
		keys = append(keys, k)
	}
	return keys
}

// podsWith are the pods that mount a claim.
func (c *Controller) podsWith(key reconcile.Key) []*corev1.Pod {
	var out []*corev1.Pod
	for _, k := range c.mounts.of(key) {
		if p, ok := store.Get[*corev1.Pod](c.store, k); ok {
			out = append(out, p)
		}
	}
	return out
}

// storageChanged makes due what a change concerns that has to do with storage.
func (c *Controller) storageChanged(ch store.Change) {
	switch ch.Key.Kind {
	case reconcile.KindPod:
		c.podChanged(ch.Key)
	case reconcile.KindPersistentVolumeClaim:
		c.queue.Add(c.mounts.of(ch.Key)...)
		if pvc, ok := store.Get[*corev1.PersistentVolumeClaim](c.store, ch.Key); ok {
			if pvc.Spec.VolumeName != "" {
				c.queue.Add(volumeKey(pvc.Spec.VolumeName))
			}
			return
		}
		c.turns.forget(ch.Key)
		for _, v := range all[*corev1.PersistentVolume](c.store, reconcile.KindPersistentVolume) {
			if ref := v.Spec.ClaimRef; ref != nil && claimKey(ref.Namespace, ref.Name) == ch.Key {
				c.queue.Add(volumeKey(v.Name))
			}
		}
	case reconcile.KindPersistentVolume:
		v, ok := store.Get[*corev1.PersistentVolume](c.store, ch.Key)
		if ok && v.Spec.ClaimRef != nil {
			c.queue.Add(claimKey(v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name))
			return
		}
		c.enqueueClaims(ch.Key.Name)
	case reconcile.KindStorageClass:
		c.enqueueClaims("")
	}
}

// enqueueClaims makes due the claims that have no volume, and those that have this one.
func (c *Controller) enqueueClaims(volume string) {
	for _, pvc := range all[*corev1.PersistentVolumeClaim](c.store, reconcile.KindPersistentVolumeClaim) {
		if pvc.Spec.VolumeName == "" || pvc.Spec.VolumeName == volume {
			c.queue.Add(reconcile.KeyOf(pvc))
		}
	}
}

// podChanged makes due the claims that wait for a pod to go, the volumes of such claims, and the pods that wait for its claim.
func (c *Controller) podChanged(key reconcile.Key) {
	var claims []reconcile.Key
	p, there := store.Get[*corev1.Pod](c.store, key)
	if there {
		claims = claimsOf(p)
	}
	for _, k := range c.mounts.set(key, claims) {
		pvc, ok := store.Get[*corev1.PersistentVolumeClaim](c.store, k)
		switch {
		case !ok && !there:
			for _, v := range all[*corev1.PersistentVolume](c.store, reconcile.KindPersistentVolume) {
				if v.DeletionTimestamp != nil {
					c.queue.Add(volumeKey(v.Name))
				}
			}
		case ok && pvc.DeletionTimestamp != nil:
			c.queue.Add(k)
		case ok && claim.OneAtATime(pvc):
			c.queue.Add(c.mounts.of(k)...)
		}
	}
}
