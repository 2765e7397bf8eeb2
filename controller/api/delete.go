package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"berth/controller/store"
	"berth/manifests/edit"
	"berth/reconcile"
)

// deleteOptions reads them from the body or, as older clients do, from the URL.
func deleteOptions(r *Request) (*metav1.DeleteOptions, error) {
	o := &metav1.DeleteOptions{}
	data, err := body(r)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		if err := utiljson.Unmarshal(data, o); err != nil {
			return nil, apierrors.NewBadRequest("error decoding DeleteOptions: " + err.Error())
		}
	}
	if v := r.Query.Get("gracePeriodSeconds"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid gracePeriodSeconds %q", v))
		}
		o.GracePeriodSeconds = &n
	}
	if v := r.Query.Get("propagationPolicy"); v != "" {
		o.PropagationPolicy = (*metav1.DeletionPropagation)(&v)
	}
	if len(r.Query["dryRun"]) > 0 {
		o.DryRun = r.Query["dryRun"]
	}
	if g := o.GracePeriodSeconds; g != nil && *g < 0 {
		*g = 1 // as Kubernetes reads it
	}
	if errs := metav1validation.ValidateDeleteOptions(o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	return o, nil
}

// alone tells of a deletion that leaves what the object has made.
func alone(o *metav1.DeleteOptions) bool {
	if p := o.PropagationPolicy; p != nil {
		return *p == metav1.DeletePropagationOrphan
	}
	return o.OrphanDependents != nil && *o.OrphanDependents //nolint:staticcheck // old clients send it
}

func (wr *writer) delete(w http.ResponseWriter, r *Request) error {
	o, err := deleteOptions(r)
	if err != nil {
		return err
	}
	it, err := wr.Object(r)
	if err != nil && r.Resource.Kind == reconcile.KindPod { // a wish that has no Pod yet
		key := r.Key()
		key.Kind = reconcile.KindBarePod
		if wish, ok := wr.opts.Store.Get(key); ok {
			it, err = wish, nil
		}
	}
	if err != nil {
		return err
	}
	if it.Key.Kind == reconcile.KindNamespace && it.Key.Name == metav1.NamespaceDefault {
		return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, errors.New("this namespace may not be deleted"))
	}
	return wr.deleteItem(w, r, it, o)
}

func (wr *writer) deleteItem(w http.ResponseWriter, r *Request, it store.Item, o *metav1.DeleteOptions) error {
	if err := wr.remove(r, it, o); err != nil {
		return err
	}
	if now, ok := wr.opts.Store.Get(it.Key); ok && (it.Key.Kind == reconcile.KindPod || it.Key.Kind == reconcile.KindNamespace) && now.Object.GetUID() == it.Object.GetUID() {
		return wr.answer(w, r, http.StatusOK, now.Object) // it is ending
	}
	return wr.Respond(w, r, http.StatusOK, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: r.Name, Group: r.Resource.Group, Kind: r.Resource.Name, UID: it.Object.GetUID()},
	})
}

// remove takes an object out of its file, and ends it.
func (wr *writer) remove(r *Request, it store.Item, o *metav1.DeleteOptions) error {
	if p := o.Preconditions; p != nil {
		meta := map[string]any{}
		if p.UID != nil {
			meta["uid"] = string(*p.UID)
		}
		if p.ResourceVersion != nil {
			meta["resourceVersion"] = *p.ResourceVersion
		}
		if err := precondition(r, it.Object, meta); err != nil {
			return err
		}
	}
	if it.Key.Kind == reconcile.KindNamespace {
		return wr.removeNamespace(r, it, len(o.DryRun) > 0)
	}
	if len(o.DryRun) > 0 {
		return nil
	}
	if stated, ok := wr.stated(it); ok {
		err := wr.rewrite(r, stated.Origin.File, stated.Origin.Line, func(data []byte) ([]byte, error) {
			key := it.Key
			if key.Kind == reconcile.KindBarePod {
				key.Kind = reconcile.KindPod
			}
			old, there := find(stated.Origin.File, data, key)
			if !there { // the file was first
				return data, nil
			}
			out, err := edit.Remove(stated.Origin.File, data, old.Key, "")
			if err == nil && alone(o) {
				wr.control.Leave(it.Key, it.Object.GetUID())
			}
			return out, err
		})
		if err != nil {
			return err
		}
	}
	if err := wr.control.Delete(it.Key, it.Object.GetUID(), o.GracePeriodSeconds, alone(o)); err != nil {
		return apierrors.NewConflict(r.Resource.GroupResource(), r.Name, err)
	}
	return nil
}

func (wr *writer) deleteCollection(w http.ResponseWriter, r *Request) error {
	o, err := deleteOptions(r)
	if err != nil {
		return err
	}
	l, err := parseListOptions(r)
	if err != nil {
		return err
	}
	objects, meta, err := wr.listed(r, l)
	if err != nil {
		return err
	}
	for _, obj := range objects {
		one := *r
		one.Namespace, one.Name = obj.GetNamespace(), obj.GetName()
		it, ok := wr.opts.Store.Get(one.Key())
		if !ok {
			continue
		}
		if err := wr.remove(&one, it, o); err != nil {
			return err
		}
	}
	out, err := encodeList(r.Resource, objects, meta)
	if err != nil {
		return err
	}
	return wr.Respond(w, r, http.StatusOK, out)
}
