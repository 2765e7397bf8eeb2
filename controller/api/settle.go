package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/request"
)

// settled does what is beside the file, and answers with what has come of all.
func (wr *writer) settled(w http.ResponseWriter, r *Request, code int, a asides) error {
	key := r.Key()
	if err := wr.remember(key, a); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if a.restart {
		if err := wr.control.Restart(key); err != nil {
			return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, err)
		}
	}
	if a.pause != nil {
		ask := wr.control.Resume
		if *a.pause {
			ask = wr.control.Pause
		}
		if err := ask(key); err != nil {
			return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, err)
		}
	}
	it, ok := wr.opts.Store.Get(key)
	if !ok && key.Kind == reconcile.KindPod {
		it, ok = wr.appeared(r.Context(), key)
	}
	if !ok && key.Kind == reconcile.KindPod { // its wish is there
		key.Kind = reconcile.KindBarePod
		it, ok = wr.opts.Store.Get(key)
	}
	if !ok {
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, errors.New("the file states it, and it cannot be followed: see `berth status`"))
	}
	return wr.answer(w, r, code, it.Object)
}

// appearance is how long a Pod that is stated may take until it is there.
const appearance = time.Second

// appeared waits for the Pod of a wish. The answer has to be about the Pod: by its UID kubectl apply --prune knows what it has just made.
func (wr *writer) appeared(ctx context.Context, key reconcile.Key) (store.Item, bool) {
	ctx, cancel := context.WithTimeout(ctx, appearance)
	defer cancel()
	for {
		_, _, changed, _ := wr.history.since(key.Kind, wr.opts.Store.Version()) // asked for before looking: no change falls between
		if it, ok := wr.opts.Store.Get(key); ok {
			return it, true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return store.Item{}, false
		}
	}
}

// remember writes what no file says, where it did not come with the file's words.
func (wr *writer) remember(key reconcile.Key, a asides) error {
	if key.Kind == reconcile.KindPod {
		if _, ok := wr.opts.Store.Get(reconcile.Key{Kind: reconcile.KindBarePod, Namespace: key.Namespace, Name: key.Name}); ok {
			key.Kind = reconcile.KindBarePod
		}
	}
	return wr.opts.Store.Update(key, func(it store.Item) (store.Item, error) {
		notes := it.Object.GetAnnotations()
		for name, value := range a.notes() {
			notes = request.With(notes, name, value)
		}
		if a.managed == nil {
			a.managed = it.Object.GetManagedFields()
		}
		if maps.Equal(notes, it.Object.GetAnnotations()) && apiequality.Semantic.DeepEqual(a.managed, it.Object.GetManagedFields()) {
			return it, nil
		}
		obj := shallow(it.Object)
		obj.SetAnnotations(notes)
		obj.SetManagedFields(a.managed)
		it.Object = obj
		return it, nil
	})
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// dry is what an object would be; changed tells that a file would say something else.
func (wr *writer) dry(wish any, have store.Object, a asides, changed bool) store.Object {
	obj, ok := wish.(store.Object)
	if !ok {
		return have
	}
	obj = obj.DeepCopyObject().(store.Object)
	notes := obj.GetAnnotations()
	if a.applied != "" {
		notes = request.With(notes, lastApplied, a.applied)
	}
	if have != nil {
		obj.SetUID(have.GetUID())
		obj.SetResourceVersion(have.GetResourceVersion())
		obj.SetCreationTimestamp(have.GetCreationTimestamp())
		obj.SetGeneration(have.GetGeneration())
		if changed {
			obj.SetGeneration(have.GetGeneration() + 1)
		}
		obj.SetOwnerReferences(have.GetOwnerReferences())
		for name, value := range have.GetAnnotations() {
			if request.Beside(name) && (name != lastApplied || a.applied == "") {
				notes = request.With(notes, name, value)
			}
		}
		if status := store.StatusOf(have); status.IsValid() {
			store.StatusOf(obj).Set(status)
		}
	} else {
		obj.SetUID(uuid.NewUUID())
		obj.SetCreationTimestamp(metav1.NewTime(wr.opts.Clock.Now()))
		obj.SetGeneration(1)
	}
	obj.SetAnnotations(notes)
	obj.SetManagedFields(a.managed)
	return obj
}
