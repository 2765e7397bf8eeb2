package controller

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/claim"
)

// holders remembers which claim had a declared volume last. `down` and a lost state forget who holds what; the next claim to come would else take the
// smallest volume that fits, and two databases might find each other's data.
type holders struct {
	mu   sync.Mutex
	last map[string]*corev1.PersistentVolume // by name, as it was when it was bound
}

func newHolders() *holders { return &holders{last: map[string]*corev1.PersistentVolume{}} }

// declaredID is the ID under which the holder of a declared volume is kept. Made volumes have no dot in theirs.
func declaredID(volume string) string { return "declared." + volume }

func (h *holders) set(v *corev1.PersistentVolume) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last[v.Name] = v
}

// of is the claim that had this very volume last; false for none, or when the volume leads elsewhere now.
func (h *holders) of(v *corev1.PersistentVolume) (reconcile.Key, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	had := h.last[v.Name]
	if had == nil || had.Spec.ClaimRef == nil || !apiequality.Semantic.DeepEqual(had.Spec.PersistentVolumeSource, v.Spec.PersistentVolumeSource) {
		return reconcile.Key{}, false
	}
	return claimKey(had.Spec.ClaimRef.Namespace, had.Spec.ClaimRef.Name), true
}

// formerHolders are the claims that had one of the free volumes last, and look for one now.
func (c *Controller) formerHolders(volumes []*corev1.PersistentVolume) map[string]reconcile.Key {
	out := map[string]reconcile.Key{}
	for _, v := range volumes {
		key, ok := c.holders.of(v)
		if !ok || v.Spec.ClaimRef != nil || claim.Made(v) {
			continue
		}
		if pvc, ok := store.Get[*corev1.PersistentVolumeClaim](c.store, key); ok && pvc.Spec.VolumeName == "" && pvc.DeletionTimestamp == nil {
			out[v.Name] = key
		}
	}
	return out
}
