package api

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/manifests/edit"
	"berth/reconcile"
	"berth/reconcile/request"
)

// change changes the file that states an object. What no file states was made by somebody, who would make it as it was again.
func (wr *writer) change(r *Request, it store.Item, seen, wish map[string]any, a asides) error {
	stated, ok := wr.stated(it)
	switch {
	case ok:
	case store.Orphan(it) && it.Key.Kind != reconcile.KindPod:
		return wr.changeOrphan(r, it, wish)
	default:
		return wr.changeMade(r, it, seen, wish)
	}
	return wr.rewriteWith(r, a, stated.Origin.File, stated.Origin.Line, func(data []byte) ([]byte, error) {
		old, there := find(stated.Origin.File, data, it.Key)
		if !there || old.Hash != stated.Hash {
			return nil, edit.ErrNotThere
		}
		out, err := edit.Update(edit.Request{File: stated.Origin.File, Data: data, Key: old.Key, Hash: stated.Hash, Seen: seen, Wish: wish})
		if err != nil {
			return nil, err
		}
		now, there := find(stated.Origin.File, out, it.Key)
		if !there {
			return nil, edit.ErrNotThere
		}
		if errs := manifests.ValidateUpdate(old, now); len(errs) > 0 {
			return nil, apierrors.NewInvalid(r.Resource.GVK().GroupKind(), r.Name, errs)
		}
		return out, nil
	})
}

// find is the object of a store's key in a file.
func find(file string, data []byte, key reconcile.Key) (manifests.Object, bool) {
	for _, o := range slices.Backward(manifests.Decode(file, data).Objects) {
		if o.Key.Kind == key.Kind && o.Key.Namespace == key.Namespace && o.Key.Name == key.Name {
			return o, true
		}
	}
	return manifests.Object{}, false
}

// stated is where a file states an object, a Pod by its wish.
func (wr *writer) stated(it store.Item) (store.Source, bool) {
	if it.Source == nil && it.Key.Kind == reconcile.KindPod {
		it, _ = wr.opts.Store.Get(reconcile.Key{Kind: reconcile.KindBarePod, Namespace: it.Key.Namespace, Name: it.Key.Name})
	}
	if it.Source == nil {
		return store.Source{}, false
	}
	return *it.Source, true
}

// changeMade changes the labels and annotations of what no file states, and whether the node takes new pods; the rest belongs to who made it.
func (wr *writer) changeMade(r *Request, it store.Item, seen, wish map[string]any) error {
	meta := below(wish, "metadata")
	labels, notes := stringMap(meta["labels"]), stringMap(meta["annotations"])
	cordoned, _ := below(wish, "spec")["unschedulable"].(bool)
	a, b := edit.Clean(seen), edit.Clean(wish)
	for _, m := range []map[string]any{a, b} {
		if it.Key.Kind == reconcile.KindNode {
			delete(below(m, "spec"), "unschedulable")
			delete(below(m, "spec"), "taints") // follow from it
		}
		for _, name := range []string{"labels", "annotations", "finalizers"} {
			delete(below(m, "metadata"), name)
		}
	}
	rest, err := differs(r, a, b)
	if err != nil {
		return err
	}
	if rest {
		why := "no file states it"
		if owner := metav1.GetControllerOfNoCopy(it.Object); owner != nil {
			why = fmt.Sprintf("%s %q made it, and would make it so again: change that", owner.Kind, owner.Name)
		}
		return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, errors.New(why))
	}
	err = wr.opts.Store.Update(it.Key, func(now store.Item) (store.Item, error) {
		if now.Object.GetUID() != it.Object.GetUID() {
			return now, nil
		}
		obj := shallow(now.Object)
		for name, value := range now.Object.GetAnnotations() {
			if request.Beside(name) || request.Hidden(name) {
				notes[name] = value
			}
		}
		obj.SetLabels(labels)
		obj.SetAnnotations(notes)
		if n, ok := obj.(*corev1.Node); ok {
			cordon(n, cordoned, metav1.NewTime(wr.opts.Clock.Now()))
		}
		now.Object = obj
		return now, nil
	})
	if err != nil || it.Key.Kind != reconcile.KindPod {
		return err
	}
	return wr.control.Carry(r.Context(), it.Key)
}

func stringMap(v any) map[string]string {
	m, _ := v.(map[string]any)
	out := make(map[string]string, len(m))
	for name, v := range m {
		out[name], _ = v.(string)
	}
	return out
}

// rewriteWith changes a file, and says with it what is beside it.
func (wr *writer) rewriteWith(r *Request, a asides, file string, line int, change func([]byte) ([]byte, error)) error {
	forget := func() {}
	defer func() { forget() }()
	return wr.rewrite(r, file, line, func(data []byte) ([]byte, error) {
		out, err := change(data)
		if err == nil {
			key := r.Key()
			if key.Kind == reconcile.KindPod {
				key.Kind = reconcile.KindBarePod
			}
			forget()
			forget = wr.control.NoteBeside(key, a.notes(), a.managed)
		}
		return out, err
	})
}

// rewrite changes a file, and answers in Kubernetes' words when it cannot be done.
func (wr *writer) rewrite(r *Request, file string, line int, change func([]byte) ([]byte, error)) error {
	place := file
	if line > 0 {
		place = fmt.Sprintf("%s:%d", file, line)
	}
	if wr.files == nil {
		return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, fmt.Errorf("%s is read-only: change it at its source", place))
	}
	return unwritten(r, place, wr.files.Rewrite(r.Context(), file, change))
}

// unwritten is the answer to what went wrong with a change of files; place is the one, "" when the error says which.
func unwritten(r *Request, place string, err error) error {
	var known apierrors.APIStatus
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, manifests.ErrReadOnly):
		if place != "" {
			err = fmt.Errorf("%s: %w", place, err)
		}
		return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, err)
	case errors.Is(err, manifests.ErrConflict), errors.Is(err, edit.ErrNotThere):
		what := "a file"
		if place != "" {
			what, _, _ = strings.Cut(place, ":")
		}
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, fmt.Errorf("%s has been modified; please apply your changes to the latest version and try again", what))
	}
	return invalid(r, err)
}

// precondition compares what an object says of the version it is about.
func precondition(r *Request, have store.Object, meta map[string]any) error {
	if uid, _ := meta["uid"].(string); uid != "" && uid != string(have.GetUID()) {
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, have.GetUID())) //nolint:staticcheck // as Kubernetes words it
	}
	if v, _ := meta["resourceVersion"].(string); v != "" && v != have.GetResourceVersion() {
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	return nil
}
