package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
)

// Key is the name in the store of what a request is about.
func (r *Request) Key() reconcile.Key {
	return reconcile.Key{Kind: r.Resource.Kind, Namespace: r.Namespace, Name: r.Name}
}

// Object is what a request names, as it is in the store; an error is that it is not found.
func (s *Server) Object(r *Request) (store.Item, error) {
	it, ok := s.opts.Store.Get(r.Key())
	if !ok {
		return it, apierrors.NewNotFound(r.Resource.GroupResource(), r.Name)
	}
	return it, nil
}

func (s *Server) get(w http.ResponseWriter, r *Request) error {
	f, err := negotiate(r.Header.Get("Accept"), transformable)
	if err != nil {
		return err
	}
	it, err := s.Object(r)
	if err != nil {
		return err
	}
	return s.respondAs(w, r, f, http.StatusOK, it.Object)
}

// respondAs answers with one object of the resource in the form that is asked for.
func (s *Server) respondAs(w http.ResponseWriter, r *Request, f form, code int, obj store.Object) error {
	var out any
	var err error
	switch f.as {
	case "Table":
		out, err = s.newTabler(r).table(obj, true)
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		out = partial(obj, f.version)
	default:
		out, err = Typed(r.Resource, obj)
	}
	if err != nil {
		return err
	}
	return writeAs(w, r.Request, f, code, out)
}

func (s *Server) list(w http.ResponseWriter, r *Request) error {
	f, err := negotiate(r.Header.Get("Accept"), transformable)
	if err != nil {
		return err
	}
	o, err := parseListOptions(r)
	if err != nil {
		return err
	}
	objects, meta, err := s.listed(r, o)
	if err != nil {
		return err
	}
	return s.respondList(w, r, f, objects, meta)
}

// count is how many of the items a list asks for.
func (o *listOptions) count(items []store.Item) (n int64) {
	for i := range items {
		if o.matches(items[i].Object) {
			n++
		}
	}
	return n
}

// listed finds what a list asks for: the objects, and what the list says of itself.
func (s *Server) listed(r *Request, o *listOptions) ([]store.Object, metav1.ListMeta, error) {
	items, version := s.opts.Store.ListAt(r.Resource.Kind)
	if o.version > version {
		return nil, metav1.ListMeta{}, errTooLarge(o.version, version)
	}
	if o.exact && o.version < version {
		var ok bool
		if items, ok = s.history.back(r.Resource.Kind, items, version, o.version); !ok {
			return nil, metav1.ListMeta{}, errExpired(o.after != "")
		}
		version = o.version
	}
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(version, 10)}
	start := 0
	if o.after != "" {
		start = len(items)
		for i := range items {
			if strings.Compare(placeOf(&items[i]), o.after) > 0 {
				start = i
				break
			}
		}
	}
	objects := make([]store.Object, 0, min(len(items), 1024))
	for i := start; i < len(items); i++ {
		if !o.matches(items[i].Object) {
			continue
		}
		if o.limit > 0 && int64(len(objects)) == o.limit {
			meta.Continue = token{Version: version, After: placeOf(&items[i-1])}.String()
			if o.labels.Empty() && len(o.fields) == 0 {
				meta.RemainingItemCount = new(o.count(items[i:]))
			}
			break
		}
		objects = append(objects, items[i].Object)
	}
	return objects, meta, nil
}

func errTooLarge(asked, have uint64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, have), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

func errExpired(part bool) error {
	if part {
		return apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.")
	}
	return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
}

// partial is an object's metadata alone.
func partial(obj store.Object, version string) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/" + version}}
	p.ObjectMeta = metaOf(obj)
	return p
}

// metaOf shares an object's metadata.
func metaOf(obj store.Object) metav1.ObjectMeta {
	if a, ok := obj.(metav1.ObjectMetaAccessor); ok {
		if m, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			return *m
		}
	}
	return metav1.ObjectMeta{}
}
