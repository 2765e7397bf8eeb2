package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/claim"
	"berth/runtime"
)

// protected tells of kinds that end only when nothing uses them any more.
func protected(kind string) bool {
	return kind == reconcile.KindPersistentVolumeClaim || kind == reconcile.KindPersistentVolume
}

// deleteObject forgets an object, or begins its end.
func (c *Controller) deleteObject(key reconcile.Key, uid types.UID) {
	if !protected(key.Kind) {
		c.store.Delete(key, uid)
		return
	}
	now := metav1.NewTime(c.opts.Clock.Now())
	err := c.store.Update(key, func(it store.Item) (store.Item, error) {
		if uid != "" && it.Object.GetUID() != uid {
			return it, nil
		}
		if obj, ok := it.Object.DeepCopyObject().(store.Object); ok && it.Object.GetDeletionTimestamp() == nil {
			obj.SetDeletionTimestamp(&now)
			it.Object = obj
		}
		it.Source = nil // no file states it any more
		return it, nil
	})
	if ignoreGone(err) != nil {
		c.opts.Log.Error(err, "cannot end an object", "key", key.String())
	}
}

// errNoVolumes is for runtimes without storage.
var errNoVolumes = errors.New("this machine keeps no volumes")

// provisionVolume makes the directory first: what it is for is written in it, so that it is found again whatever happens here.
func (c *Controller) provisionVolume(ctx context.Context, a reconcile.ProvisionVolume) error {
	err := c.labelVolume(ctx, a.Volume)
	if err != nil && ctx.Err() == nil {
		c.events.add(reconcile.RecordEvent{
			Key: a.Claim, Warning: true, Reason: "ProvisioningFailed",
			Message: fmt.Sprintf("failed to provision volume with StorageClass %q: %s", a.Volume.Spec.StorageClassName, firstLine(err)),
		})
	}
	if err != nil {
		return err
	}
	err = c.store.Create(volumeKey(a.Volume.Name), a.Volume.DeepCopy(), nil)
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	return err
}

// labelVolume makes the stored volume of a PersistentVolume, or writes anew what it is for.
func (c *Controller) labelVolume(ctx context.Context, v *corev1.PersistentVolume) error {
	if c.opts.Volumes == nil {
		return errNoVolumes
	}
	bare := v.DeepCopy()
	bare.UID, bare.ResourceVersion, bare.Status, bare.DeletionTimestamp = "", "", corev1.PersistentVolumeStatus{}, nil
	label, err := json.Marshal(bare)
	if err != nil {
		return fmt.Errorf("cannot describe %s: %w", v.Name, err)
	}
	if claim.Made(v) {
		return c.opts.Volumes.MakeVolume(ctx, runtime.StoredVolume{ID: claim.Stored(v), Label: label})
	}
	c.holders.set(v)
	return c.opts.Volumes.MakeVolume(ctx, runtime.StoredVolume{ID: declaredID(v.Name), Label: label, NoData: true})
}

// bindClaim is decided here once more, in one step for each side: between the look and the deed another claim may have taken the volume.
func (c *Controller) bindClaim(ctx context.Context, a reconcile.BindClaim) (again bool, err error) {
	pvc, ok := store.Get[*corev1.PersistentVolumeClaim](c.store, a.Claim)
	if !ok || pvc.UID != a.UID || pvc.DeletionTimestamp != nil {
		return false, nil
	}
	var was, bound *corev1.PersistentVolume
	err = c.store.Update(volumeKey(a.Volume), func(it store.Item) (store.Item, error) {
		v, ok := it.Object.(*corev1.PersistentVolume)
		if !ok || !claim.Holds(v, pvc) && !claim.Free(v, pvc) {
			return it, nil
		}
		if was, bound = v, boundVolume(v, pvc); !apiequality.Semantic.DeepEqual(was, bound) {
			it.Object = bound
		}
		return it, nil
	})
	if err != nil || bound == nil {
		return true, ignoreGone(err)
	}
	// Whose it is is written beside the data, or for what is elsewhere, alone.
	if !apiequality.Semantic.DeepEqual(was.Spec, bound.Spec) {
		err := c.labelVolume(ctx, bound)
		if err != nil && claim.Made(bound) {
			return false, err
		}
		if err != nil { // of a declared volume no data is lost by that
			c.opts.Log.Error(err, "cannot write down who holds a volume", "volume", bound.Name)
		}
	}
	return false, ignoreGone(c.store.Update(a.Claim, func(it store.Item) (store.Item, error) {
		old, ok := it.Object.(*corev1.PersistentVolumeClaim)
		if !ok || old.UID != a.UID || old.Spec.VolumeName != "" && old.Spec.VolumeName != a.Volume {
			return it, nil
		}
		n := old.DeepCopy()
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, claim.AnnotationBindCompleted, "yes")
		if n.Spec.VolumeName == "" {
			metav1.SetMetaDataAnnotation(&n.ObjectMeta, claim.AnnotationBoundByController, "yes")
		}
		n.Spec.VolumeName = a.Volume
		if a.Class != "" && n.Spec.StorageClassName == nil {
			n.Spec.StorageClassName = &a.Class
		}
		it.Object = n
		return it, nil
	}))
}

// boundVolume is a volume with a claim in its hands. What berth has made is as large and as shared as the claim asks.
func boundVolume(v *corev1.PersistentVolume, pvc *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	n := v.DeepCopy()
	if v.Spec.ClaimRef == nil {
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, claim.AnnotationBoundByController, "yes")
	}
	n.Spec.ClaimRef = claim.Reference(pvc)
	if !claim.Made(v) {
		return n
	}
	n.Spec.AccessModes = pvc.Spec.AccessModes
	if has, wants := v.Spec.Capacity[corev1.ResourceStorage], claim.Request(pvc); has.Cmp(wants) < 0 {
		n.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: wants}
	}
	return n
}

func (c *Controller) unbindVolume(a reconcile.UnbindVolume) error {
	return ignoreGone(c.store.Update(a.Volume, func(it store.Item) (store.Item, error) {
		v, ok := it.Object.(*corev1.PersistentVolume)
		if !ok || v.UID != a.UID || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != a.Claim {
			return it, nil
		}
		n := v.DeepCopy()
		n.Spec.ClaimRef = nil
		delete(n.Annotations, claim.AnnotationBoundByController)
		it.Object = n
		return it, nil
	}))
}

// removeClaim marks the volume first: if this is as far as we come, its data stays until the claim is seen to go again. A claim that is back
// meanwhile stays, and so does its data.
func (c *Controller) removeClaim(a reconcile.RemoveClaim) {
	if a.DeleteData && c.ingest.goingDown() {
		pvc, ok := store.Get[*corev1.PersistentVolumeClaim](c.store, a.Claim)
		a.DeleteData = ok && ownedByPod(pvc) // `down` takes away who owned it, and nobody has asked for its data to go
	}
	if a.DeleteData {
		c.endVolume(a, true)
	}
	gone := c.store.DeleteIf(a.Claim, func(it store.Item) bool {
		return it.Object.GetUID() == a.UID && it.Object.GetDeletionTimestamp() != nil
	})
	if !gone && a.DeleteData {
		c.endVolume(a, false)
	}
	if gone {
		c.ingest.again(a.Claim)
	}
}

// endVolume begins the end of a claim's volume, or takes that back.
func (c *Controller) endVolume(a reconcile.RemoveClaim, end bool) {
	now := metav1.NewTime(c.opts.Clock.Now())
	err := c.store.Update(volumeKey(a.Volume), func(it store.Item) (store.Item, error) {
		v, ok := it.Object.(*corev1.PersistentVolume)
		if !ok || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != a.UID || end == (v.DeletionTimestamp != nil) {
			return it, nil
		}
		n := v.DeepCopy()
		if n.DeletionTimestamp = nil; end {
			n.DeletionTimestamp = &now
			n.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete // also where only the owner of the claim has said so
		}
		it.Object = n
		return it, nil
	})
	if ignoreGone(err) != nil {
		c.opts.Log.Error(err, "cannot end a volume", "volume", a.Volume)
	}
}

func ownedByPod(obj metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(obj)
	return owner != nil && owner.Kind == reconcile.KindPod
}

// goingDown tells whether everything is to go.
func (in *ingest) goingDown() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.down
}

// removeVolume deletes the data first: while there is some, something stands for it. That somebody still has it is no failure: the
// volume is due again when they go.
func (c *Controller) removeVolume(ctx context.Context, a reconcile.RemoveVolume) error {
	if a.ID != "" && c.opts.Volumes != nil {
		if err := c.opts.Volumes.RemoveVolume(ctx, a.ID); err != nil {
			if !errors.Is(err, runtime.ErrInUse) && ctx.Err() == nil {
				c.events.add(reconcile.RecordEvent{Key: a.Volume, UID: a.UID, Warning: true, Reason: "VolumeFailedDelete", Message: firstLine(err)})
			}
			return err
		}
	}
	c.store.DeleteIf(a.Volume, func(it store.Item) bool {
		return it.Object.GetUID() == a.UID && it.Object.GetDeletionTimestamp() != nil
	})
	return nil
}

// adoptVolumes takes over the stored volumes that nothing stands for: the state was damaged, or `down` has forgotten it. Each says itself
// whose it is; a claim of that name gets it back. What was a pod's own goes: its pod is gone, or has a claim that stands for it.
func (c *Controller) adoptVolumes(ctx context.Context) {
	if c.opts.Volumes == nil {
		return
	}
	list, err := c.opts.Volumes.ListVolumes(ctx)
	if err != nil {
		c.warn(fmt.Sprintf("cannot look for volumes: %v", err))
		return
	}
	known := map[string]bool{}
	for _, v := range all[*corev1.PersistentVolume](c.store, reconcile.KindPersistentVolume) {
		known[claim.Stored(v)] = true
	}
	for _, s := range list {
		if known[s.ID] {
			continue
		}
		v := &corev1.PersistentVolume{}
		if s.NoData && json.Unmarshal(s.Label, v) == nil && declaredID(v.Name) == s.ID {
			c.holders.set(v)
			continue
		}
		if err := json.Unmarshal(s.Label, v); err != nil || v.Name == "" || claim.Stored(v) != s.ID {
			c.warn(fmt.Sprintf("the volume %s does not say whose it is: it is left alone", s.ID))
			continue
		}
		if v.Annotations[claim.AnnotationEphemeral] != "" {
			now := metav1.NewTime(c.opts.Clock.Now())
			v.DeletionTimestamp = &now
		}
		if err := c.store.Create(volumeKey(v.Name), v, nil); err != nil {
			c.warn(fmt.Sprintf("cannot take over the volume %s: %v", s.ID, err))
		}
	}
}

// storageEnding tells whether something of claims is still to go that no file will bring back.
func (c *Controller) storageEnding() bool {
	for _, v := range all[*corev1.PersistentVolume](c.store, reconcile.KindPersistentVolume) {
		if v.DeletionTimestamp != nil && claim.Made(v) {
			return true
		}
	}
	for _, pvc := range all[*corev1.PersistentVolumeClaim](c.store, reconcile.KindPersistentVolumeClaim) {
		if pvc.DeletionTimestamp != nil || ownedByPod(pvc) {
			return true
		}
	}
	return false
}
