package controller

import (
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// Delete ends an object because somebody asked for it: that is consent enough, and what its file says does not count any more. A Pod that a file
// states is named as a Pod. A namespace ends with all that is in it. grace is in seconds, nil for the Pod's own. What is gone already is no error.
func (c *Controller) Delete(key reconcile.Key, uid types.UID, grace *int64) error {
	in := c.ingest
	in.mu.Lock()
	defer in.mu.Unlock()
	if key.Kind == reconcile.KindNamespace {
		return c.endNamespace(key, uid)
	}
	defer c.notify.notify()
	wish := key
	if key.Kind == reconcile.KindPod {
		wish.Kind = reconcile.KindBarePod
		if err := c.deletePod(reconcile.DeletePod{Key: key, UID: uid, Grace: grace}); err != nil {
			return err
		}
	}
	if it, ok := c.store.Get(wish); ok && it.Source != nil && !in.wishes[wish] {
		in.remove(wish, "it was deleted")
		in.arm()
	} else if key.Kind != reconcile.KindPod && (!ok || it.Source == nil) {
		c.deleteObject(key, uid)
	}
	return nil
}

// Rollback makes a Deployment run the revision of a number, until its file changes.
func (c *Controller) Rollback(key reconcile.Key, revision int64) error {
	_, err := c.Undo(key, revision)
	return err
}
