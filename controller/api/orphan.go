package api

import (
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile/request"
)

// changeOrphan changes what has lost its owner where it is: no file says anything else of it, and nobody makes it as it was again.
func (wr *writer) changeOrphan(r *Request, it store.Item, wish map[string]any) error {
	d, err := decode(wish)
	if err != nil {
		return err
	}
	if len(d.Objects) != 1 {
		return faulty(r, d.Faults)
	}
	now := d.Objects[0]
	obj, ok := now.Object.(store.Object)
	if !ok {
		return faulty(r, nil)
	}
	obj.SetGeneration(it.Object.GetGeneration())
	if errs := manifests.ValidateUpdate(manifests.Object{Key: now.Key, GVK: now.GVK, Object: it.Object}, now); len(errs) > 0 {
		return apierrors.NewInvalid(r.Resource.GVK().GroupKind(), r.Name, errs)
	}
	changed := false
	err = wr.opts.Store.Update(it.Key, func(old store.Item) (store.Item, error) {
		if changed = !sameButStatus(old.Object, it.Object); changed {
			return old, nil
		}
		notes := obj.GetAnnotations()
		for name, value := range old.Object.GetAnnotations() {
			if request.Beside(name) || request.Hidden(name) {
				notes = request.With(notes, name, value)
			}
		}
		obj.SetAnnotations(notes)
		obj.SetManagedFields(old.Object.GetManagedFields())
		if status := store.StatusOf(obj); status.IsValid() {
			status.Set(store.StatusOf(old.Object))
		}
		old.Object = obj
		return old, nil
	})
	if changed {
		err = apierrors.NewConflict(r.Resource.GroupResource(), r.Name, errChanged)
	}
	return err
}

// sameButStatus compares two versions of an object.
func sameButStatus(a, b store.Object) bool {
	return a.GetUID() == b.GetUID() && a.GetGeneration() == b.GetGeneration() && len(a.GetOwnerReferences()) == len(b.GetOwnerReferences()) &&
		maps.Equal(a.GetLabels(), b.GetLabels()) && maps.Equal(a.GetAnnotations(), b.GetAnnotations())
}
