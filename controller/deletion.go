package controller

import (
	"k8s.io/apimachinery/pkg/types"

	"berth/controller/store"
	"berth/reconcile"
)

// Delete ends an object because somebody asked for it: that is consent enough, and what its file says does not count any more. A Pod that a file
// states is named as a Pod. A namespace ends with all that is in it. grace is in seconds, nil for the Pod's own. What is gone already is no error.
// With alone, what the object has made stays.
func (c *Controller) Delete(key reconcile.Key, uid types.UID, grace *int64, alone bool) error {
	in := c.ingest
	in.mu.Lock()
	defer in.mu.Unlock()
	if key.Kind == reconcile.KindNamespace {
		return c.endNamespace(key, uid)
	}
	defer c.notify.notify()
	if key.Kind == reconcile.KindEvent {
		c.events.forget(key)
		return nil
	}
	wish := key
	if key.Kind == reconcile.KindPod {
		wish.Kind = reconcile.KindBarePod
		if err := c.deletePod(reconcile.DeletePod{Key: key, UID: uid, Grace: grace}); err != nil {
			return err
		}
	}
	it, ok := c.store.Get(wish)
	switch {
	case ok && it.Source != nil && !in.wishes[wish]:
		if alone {
			c.Leave(wish, uid)
		}
		in.remove(wish, "it was deleted")
		in.arm()
	case key.Kind == reconcile.KindPod || ok && it.Source != nil:
	case ok && alone && (uid == "" || it.Object.GetUID() == uid):
		c.leave(it, func() { c.deleteObject(key, uid) })
	default:
		c.deleteObject(key, uid)
	}
	return nil
}

// Leave notes that what a stated object has made shall outlive it when its file loses it. It is to be called right before that: a file that goes on stating
// it counts as a change of mind.
func (c *Controller) Leave(key reconcile.Key, uid types.UID) {
	err := c.store.Update(key, func(it store.Item) (store.Item, error) {
		if it.Source == nil || it.Source.Alone || uid != "" && it.Object.GetUID() != uid {
			return it, nil
		}
		src := *it.Source
		src.Alone = true
		return store.Item{Object: it.Object, Source: &src}, nil
	})
	if ignoreGone(err) != nil {
		c.opts.Log.Error(err, "cannot note that an object is deleted alone", "key", key.String())
	}
}

// Rollback makes a Deployment run the revision of a number, until its file changes.
func (c *Controller) Rollback(key reconcile.Key, revision int64) error {
	_, err := c.Undo(key, revision)
	return err
}
