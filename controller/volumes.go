package controller

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/claim"
)

// Volume is a PersistentVolume, and whose it is.
type Volume struct {
	Name string `json:"name"`
	// Claim is NAMESPACE/NAME of the claim that has it, or for which its data is kept; "" for none.
	Claim    string `json:"claim,omitempty"`
	Phase    string `json:"phase"` // Bound, Released: its claim is gone, Available, Failed
	Class    string `json:"class,omitempty"`
	Capacity string `json:"capacity,omitempty"`
	Policy   string `json:"policy"`         // Retain or Delete
	File     string `json:"file,omitempty"` // FILE:LINE that declares it; "" for what berth has made
	Ending   bool   `json:"ending,omitempty"`
}

func (c *Controller) volumes() []Volume {
	list := []Volume{}
	for _, it := range c.store.List(reconcile.KindPersistentVolume) {
		v, ok := it.Object.(*corev1.PersistentVolume)
		if !ok {
			continue
		}
		row := Volume{
			Name: v.Name, Phase: cmp.Or(string(v.Status.Phase), string(corev1.VolumePending)), Class: v.Spec.StorageClassName,
			Policy: string(v.Spec.PersistentVolumeReclaimPolicy), Ending: v.DeletionTimestamp != nil,
		}
		if ref := v.Spec.ClaimRef; ref != nil {
			row.Claim = ref.Namespace + "/" + ref.Name
		}
		if size, stated := v.Spec.Capacity[corev1.ResourceStorage]; stated {
			row.Capacity = size.String()
		}
		if it.Source != nil {
			row.File = it.Source.Origin.String()
		}
		list = append(list, row)
	}
	slices.SortStableFunc(list, func(a, b Volume) int { return cmp.Compare(a.Claim, b.Claim) })
	return list
}

// errStays are volumes whose data somebody relies on.
var errStays = errors.New("its data stays")

// RemoveVolume begins the end of a volume that berth has made and no claim has, and of the data in it. A claim that comes back from now on
// finds none.
func (c *Controller) RemoveVolume(name string) error {
	now := metav1.NewTime(c.opts.Clock.Now())
	err := c.store.Update(volumeKey(name), func(it store.Item) (store.Item, error) {
		v, ok := it.Object.(*corev1.PersistentVolume)
		switch {
		case !ok:
			return it, misfiled(it)
		case !claim.Made(v):
			return it, fmt.Errorf("cannot remove volume %q: berth has not made it: %w; take it out of its file", name, errStays)
		case c.claimed(v):
			return it, fmt.Errorf("cannot remove volume %q: claim %s/%s has it: %w; take the claim out of its file first",
				name, v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name, errStays)
		}
		n := v.DeepCopy()
		n.DeletionTimestamp, n.Spec.PersistentVolumeReclaimPolicy = &now, corev1.PersistentVolumeReclaimDelete
		it.Object = n
		return it, nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("cannot remove volume %q: there is none of that name; `berth volume ls` lists them", name)
	}
	return err
}

// claimed tells whether there is a claim of the name that a volume is for. One that has not taken it yet will.
func (c *Controller) claimed(v *corev1.PersistentVolume) bool {
	ref := v.Spec.ClaimRef
	if ref == nil {
		return false
	}
	_, there := c.store.Get(claimKey(ref.Namespace, ref.Name))
	return there
}
