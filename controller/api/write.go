package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"berth/controller/store"
	"berth/manifests"
	"berth/manifests/edit"
	"berth/reconcile"
)

// Control is what writing needs of the controller beside files and the store.
type Control interface { //nolint:interfacebloat // one controller has them all
	// Delete ends an object whose end somebody has asked for, whatever its file says meanwhile; a namespace with all that is in it. grace is nil
	// for a Pod's own; alone means that what the object has made stays.
	Delete(key reconcile.Key, uid types.UID, grace *int64, alone bool) error
	// Leave notes, right before its file loses it, that an object is deleted alone.
	Leave(key reconcile.Key, uid types.UID)
	// NoteBeside gives a stated object annotations and managed fields, nil for those it has, together with its file's next words. It is called right before the
	// file is written; forget drops what was not taken in.
	NoteBeside(key reconcile.Key, notes map[string]string, managed []metav1.ManagedFieldsEntry) (forget func())
	// RefuseService tells what a Service newly states and cannot have.
	RefuseService(wish *corev1.Service) field.ErrorList
	// Evict calls end, which begins the end of a Pod, if the disruption budgets allow it; else it returns a *disruption.Refusal.
	Evict(pod reconcile.Key, dry bool, end func() error) error
	// SetEphemeral gives a Pod, of the resource version of wish, the ephemeral containers of wish; changed tells that it is of another one by now.
	SetEphemeral(ctx context.Context, wish *corev1.Pod) (changed bool, err error)
	// Carry sees to it that what has become of a Pod in the store outlives this controller.
	Carry(ctx context.Context, pod reconcile.Key) error
	// Restart, Pause, Resume and Rollback are asked of a rollout.
	Restart(key reconcile.Key) error
	Pause(key reconcile.Key) error
	Resume(key reconcile.Key) error
	Rollback(key reconcile.Key, revision int64) error
}

// HandleWrites enters what writes: into files by way of files, into what is kept beside them by way of control. Without a Writer every write
// that a file would have to say is refused.
func (s *Server) HandleWrites(files manifests.Writer, control Control) {
	wr := &writer{Server: s, files: files, control: control, told: told{sizes: map[reconcile.Key]int{}}}
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
	s.Handle("get", "pods", "ephemeralcontainers", s.get)
	s.Handle("update", "pods", "ephemeralcontainers", checked(wr.updateEphemeral))
	s.Handle("patch", "pods", "ephemeralcontainers", checked(wr.patchEphemeral))
}

type writer struct {
	*Server
	files   manifests.Writer
	control Control
	told    told
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
	if r.Resource.Kind == reconcile.KindEvent {
		return wr.createEvent(w, r, obj)
	}
	aside := takeAsides(r.Resource.Kind, nil, map[string]any{}, obj)
	wish, obj, err := wr.wished(w, r, nil, obj)
	if err != nil {
		return err
	}
	if aside.managed = r.managed; aside.managed == nil {
		aside.managed = wr.managed(r, store.Item{}, map[string]any{}, withApplied(obj, aside.applied))
	}
	if _, taken := wr.opts.Store.Get(r.Key()); taken {
		return apierrors.NewAlreadyExists(r.Resource.GroupResource(), r.Name)
	}
	if err := wr.haveNamespace(r.Namespace); err != nil {
		return err
	}
	if err := wr.refuseEnding(r); err != nil {
		return err
	}
	if err := wr.refuseService(r, wish.Object); err != nil {
		return err
	}
	if r.bool("dryRun") {
		return wr.answer(w, r, http.StatusCreated, wr.dry(wish.Object, nil, aside, true))
	}
	file := manifests.NewFile(wish.Key)
	err = wr.rewriteWith(r, aside, file, 0, func(data []byte) ([]byte, error) {
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

// haveNamespace refuses what is not there, as Kubernetes does: a file may name any namespace, and a client that mistypes one is told.
func (wr *writer) haveNamespace(name string) error {
	if _, there := wr.opts.Store.Get(reconcile.Key{Kind: reconcile.KindNamespace, Name: name}); name == "" || there {
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
}

// refuseService refuses an address or a port that a Service cannot have. What a file states of that kind is taken, and told of.
func (wr *writer) refuseService(r *Request, wish any) error {
	if svc, ok := wish.(*corev1.Service); ok {
		if errs := wr.control.RefuseService(svc); len(errs) > 0 {
			return apierrors.NewInvalid(r.Resource.GVK().GroupKind(), r.Name, errs)
		}
	}
	return nil
}

// update puts a whole object in the place of one.
func (wr *writer) update(w http.ResponseWriter, r *Request) error {
	wish, err := wr.object(r)
	if err != nil {
		return err
	}
	it, err := wr.Object(r)
	switch {
	case err != nil && r.Resource.Kind == reconcile.KindEvent: // as in Kubernetes
		return wr.createEvent(w, r, wish)
	case err != nil:
		return err
	}
	return wr.commit(w, r, it, wish)
}

// commit makes a wish true: in the file that states the object, and beside it.
func (wr *writer) commit(w http.ResponseWriter, r *Request, it store.Item, wish map[string]any) error {
	if err := precondition(r, it.Object, below(wish, "metadata")); err != nil {
		return err
	}
	if it.Key.Kind == reconcile.KindEvent {
		return wr.updateEvent(w, r, it, wish)
	}
	seen, err := wr.seen(r, it)
	if err != nil {
		return err
	}
	aside := takeAsides(r.Resource.Kind, it.Object, seen, wish)
	inFile := seen
	if it.Key.Kind == reconcile.KindService {
		inFile = togetherIPs(seen, wish)
	}
	wished, wish, err := wr.wished(w, r, seen, wish)
	if err != nil {
		return err
	}
	if err := wr.refuseService(r, wished.Object); err != nil {
		return err
	}
	if aside.managed = r.managed; aside.managed == nil {
		aside.managed = wr.managed(r, it, withApplied(seen, aside.before), withApplied(wish, aside.applied))
	}
	changed, err := differs(r, seen, wish)
	if err != nil {
		return err
	}
	if r.bool("dryRun") {
		return wr.answer(w, r, http.StatusOK, wr.dry(wished.Object, it.Object, aside, changed))
	}
	if changed {
		if err := wr.change(r, it, inFile, wish, aside); err != nil {
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
