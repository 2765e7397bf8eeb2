package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"berth/controller/store"
	"berth/manifests"
	"berth/manifests/edit"
	"berth/reconcile"
	"berth/reconcile/request"
)

// Control is what writing needs of the controller beside files and the store.
type Control interface {
	// Delete ends an object whose end somebody has asked for, whatever its file says meanwhile. grace is nil for a Pod's own.
	Delete(key reconcile.Key, uid types.UID, grace *int64) error
	// Restart, Pause, Resume and Rollback are asked of a rollout.
	Restart(key reconcile.Key) error
	Pause(key reconcile.Key) error
	Resume(key reconcile.Key) error
	Rollback(key reconcile.Key, revision int64) error
}

// HandleWrites enters what writes: into files by way of files, into what is kept beside them by way of control. Without a Writer every write
// that a file would have to say is refused.
func (s *Server) HandleWrites(files manifests.Writer, control Control) {
	wr := &writer{Server: s, files: files, control: control}
	s.Handle("create", "*", "", checked(wr.create))
	s.Handle("update", "*", "", checked(wr.update))
	s.Handle("patch", "*", "", checked(wr.patch))
	s.Handle("delete", "*", "", checked(wr.delete))
	s.Handle("deletecollection", "*", "", checked(wr.deleteCollection))
	s.Handle("get", "*", "status", s.get)
	s.Handle("get", "*", "scale", wr.getScale)
	s.Handle("update", "*", "scale", checked(wr.updateScale))
	s.Handle("patch", "*", "scale", checked(wr.patchScale))
	s.Handle("create", "pods", "eviction", checked(wr.evict))
}

type writer struct {
	*Server
	files   manifests.Writer
	control Control
}

// create states a new object in a file of its own.
func (wr *writer) create(w http.ResponseWriter, r *Request) error {
	obj, err := wr.object(r)
	if err != nil {
		return err
	}
	meta := below(obj, "metadata")
	if prefix, _ := meta["generateName"].(string); prefix != "" && meta["name"] == nil {
		meta["name"] = prefix[:min(len(prefix), 58)] + utilrand.String(5) // what a name has room for
	}
	r.Name, _ = meta["name"].(string)
	return wr.createNamed(w, r, obj)
}

func (wr *writer) createNamed(w http.ResponseWriter, r *Request, obj map[string]any) error {
	aside := takeAsides(r.Resource.Kind, nil, map[string]any{}, obj)
	if aside.managed = r.managed; aside.managed == nil {
		aside.managed = wr.managed(r, store.Item{}, map[string]any{}, withApplied(obj, aside.applied))
	}
	wish, obj, err := wr.wished(w, r, obj)
	if err != nil {
		return err
	}
	if _, taken := wr.opts.Store.Get(r.Key()); taken {
		return apierrors.NewAlreadyExists(r.Resource.GroupResource(), r.Name)
	}
	if r.bool("dryRun") {
		return wr.answer(w, r, http.StatusCreated, dry(wish.Object, nil, aside))
	}
	file := manifests.NewFile(wish.Key)
	err = wr.rewrite(r, file, 0, func(data []byte) ([]byte, error) {
		text, err := edit.New(file, wish.GVK, wish.Key, obj)
		if err != nil || len(bytes.TrimSpace(data)) == 0 {
			return text, err
		}
		for _, o := range manifests.Decode(file, data).Objects {
			if o.Key == wish.Key { // it is on its way
				return nil, apierrors.NewAlreadyExists(r.Resource.GroupResource(), r.Name)
			}
		}
		return append(append(bytes.TrimRight(data, "\n"), "\n---\n"...), text...), nil
	})
	if err != nil {
		return err
	}
	return wr.settled(w, r, http.StatusCreated, aside)
}

// update puts a whole object in the place of one.
func (wr *writer) update(w http.ResponseWriter, r *Request) error {
	wish, err := wr.object(r)
	if err != nil {
		return err
	}
	it, err := wr.Object(r)
	if err != nil {
		return err
	}
	return wr.commit(w, r, it, wish)
}

// commit makes a wish true: in the file that states the object, and beside it.
func (wr *writer) commit(w http.ResponseWriter, r *Request, it store.Item, wish map[string]any) error {
	if err := precondition(r, it.Object, below(wish, "metadata")); err != nil {
		return err
	}
	seen, err := wr.seen(r, it)
	if err != nil {
		return err
	}
	aside := takeAsides(r.Resource.Kind, it.Object, seen, wish)
	if aside.managed = r.managed; aside.managed == nil {
		aside.managed = wr.managed(r, it, withApplied(seen, aside.before), withApplied(wish, aside.applied))
	}
	wished, wish, err := wr.wished(w, r, wish)
	if err != nil {
		return err
	}
	changed, err := differs(r, seen, wish)
	if err != nil {
		return err
	}
	if r.bool("dryRun") {
		return wr.answer(w, r, http.StatusOK, dry(wished.Object, it.Object, aside))
	}
	if changed {
		if err := wr.change(r, it, seen, wish); err != nil {
			return err
		}
	}
	return wr.settled(w, r, http.StatusOK, aside)
}

// managed says who has which fields after an update; a client may say so itself.
func (wr *writer) managed(r *Request, it store.Item, seen, wish map[string]any) []metav1.ManagedFieldsEntry {
	var before []metav1.ManagedFieldsEntry
	if it.Object != nil {
		before = it.Object.GetManagedFields()
	}
	was, is := below(seen, "metadata")["managedFields"], below(wish, "metadata")["managedFields"]
	if is != nil && !reflect.DeepEqual(was, is) {
		var own []metav1.ManagedFieldsEntry
		if data, err := json.Marshal(is); err == nil && json.Unmarshal(data, &own) == nil {
			before = own
		}
	}
	typed, err := manifests.Scheme().New(r.Resource.GVK())
	if err != nil {
		return before
	}
	return updated(r, reflect.TypeOf(typed), metav1.NewTime(wr.opts.Clock.Now()), seen, wish, before)
}

// seen is an object as a client saw it.
func (wr *writer) seen(r *Request, it store.Item) (map[string]any, error) {
	obj, err := Typed(r.Resource, it.Object)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", it.Key, err)
	}
	var m map[string]any
	if err := utiljson.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("cannot decode %s: %w", it.Key, err)
	}
	return m, nil
}

// differs tells whether a file would have to say something else.
func differs(r *Request, seen, wish map[string]any) (bool, error) {
	a, err := edit.Canonical(r.Resource.GVK(), edit.Clean(seen))
	if err != nil {
		return false, invalid(r, err)
	}
	b, err := edit.Canonical(r.Resource.GVK(), edit.Clean(wish))
	if err != nil {
		return false, invalid(r, err)
	}
	return !reflect.DeepEqual(a, b), nil
}

// change changes the file that states an object. What no file states was made by somebody, who would make it as it was again.
func (wr *writer) change(r *Request, it store.Item, seen, wish map[string]any) error {
	stated, ok := wr.stated(it)
	if !ok {
		return wr.changeMade(r, it, seen, wish)
	}
	return wr.rewrite(r, stated.Origin.File, stated.Origin.Line, func(data []byte) ([]byte, error) {
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

// changeMade changes the labels and annotations of what no file states; the rest belongs to who made it.
func (wr *writer) changeMade(r *Request, it store.Item, seen, wish map[string]any) error {
	meta := below(wish, "metadata")
	labels, notes := stringMap(meta["labels"]), stringMap(meta["annotations"])
	a, b := edit.Clean(seen), edit.Clean(wish)
	for _, m := range []map[string]any{a, b} {
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
	return wr.opts.Store.Update(it.Key, func(now store.Item) (store.Item, error) {
		if now.Object.GetUID() != it.Object.GetUID() {
			return now, nil
		}
		obj := shallow(now.Object)
		for name, value := range now.Object.GetAnnotations() {
			if request.Beside(name) {
				notes[name] = value
			}
		}
		obj.SetLabels(labels)
		obj.SetAnnotations(notes)
		now.Object = obj
		return now, nil
	})
}

func stringMap(v any) map[string]string {
	m, _ := v.(map[string]any)
	out := make(map[string]string, len(m))
	for name, v := range m {
		out[name], _ = v.(string)
	}
	return out
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
	err := wr.files.Rewrite(r.Context(), file, change)
	var known apierrors.APIStatus
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, manifests.ErrReadOnly):
		return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, fmt.Errorf("%s: %w", place, err))
	case errors.Is(err, manifests.ErrConflict), errors.Is(err, edit.ErrNotThere):
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, fmt.Errorf("%s has been modified; please apply your changes to the latest version and try again", file))
	}
	return invalid(r, err)
}

// precondition compares what an object says of the version it is about.
func precondition(r *Request, have store.Object, meta map[string]any) error {
	if uid, _ := meta["uid"].(string); uid != "" && uid != string(have.GetUID()) {
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, fmt.Errorf("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, have.GetUID()))
	}
	if v, _ := meta["resourceVersion"].(string); v != "" && v != have.GetResourceVersion() {
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	return nil
}

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
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if it, ok := wr.opts.Store.Get(key); ok {
			return it, true
		}
		select {
		case <-ctx.Done():
			return store.Item{}, false
		case <-tick.C:
		}
	}
}

// remember writes what no file says.
func (wr *writer) remember(key reconcile.Key, a asides) error {
	if key.Kind == reconcile.KindPod {
		if _, ok := wr.opts.Store.Get(reconcile.Key{Kind: reconcile.KindBarePod, Namespace: key.Namespace, Name: key.Name}); ok {
			key.Kind = reconcile.KindBarePod
		}
	}
	return wr.opts.Store.Update(key, func(it store.Item) (store.Item, error) {
		notes := it.Object.GetAnnotations()
		if a.applied != "" {
			notes = request.With(notes, lastApplied, a.applied)
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

// dry is what an object would be.
func dry(wish any, have store.Object, a asides) store.Object {
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
		obj.SetOwnerReferences(have.GetOwnerReferences())
		for name, value := range have.GetAnnotations() {
			if request.Beside(name) && (name != lastApplied || a.applied == "") {
				notes = request.With(notes, name, value)
			}
		}
		if status := store.StatusOf(have); status.IsValid() {
			store.StatusOf(obj).Set(status)
		}
	}
	obj.SetAnnotations(notes)
	obj.SetManagedFields(a.managed)
	return obj
}

func (wr *writer) answer(w http.ResponseWriter, r *Request, code int, obj store.Object) error {
	f, err := negotiate(r.Header.Get("Accept"), transformable)
	if err != nil {
		return err
	}
	return wr.respondAs(w, r, f, code, obj)
}

// checked looks at the options that all writes have.
func checked(h Handler) Handler {
	return func(w http.ResponseWriter, r *Request) error {
		for _, v := range r.Query["dryRun"] {
			if v != metav1.DryRunAll {
				return apierrors.NewBadRequest(fmt.Sprintf("invalid dryRun %q: supported values: %q", v, metav1.DryRunAll))
			}
		}
		switch v := r.Query.Get("fieldValidation"); v {
		case "", metav1.FieldValidationIgnore, metav1.FieldValidationWarn, metav1.FieldValidationStrict:
			return h(w, r)
		default:
			return apierrors.NewBadRequest(fmt.Sprintf("invalid fieldValidation %q: supported values: \"Ignore\", \"Strict\", \"Warn\"", v))
		}
	}
}
