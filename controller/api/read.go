package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
		out, err = s.newTabler(r).table([]store.Object{obj}, metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}, true)
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

// respondList answers with objects of the resource in the form that is asked for.
func (s *Server) respondList(w http.ResponseWriter, r *Request, f form, objects []store.Object, meta metav1.ListMeta) error {
	var out any
	var err error
	switch f.as {
	case "Table":
		out, err = s.newTabler(r).table(objects, meta, true)
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		out = partialList(objects, meta, f.version)
	default:
		out, err = encodeList(r.Resource, objects, meta)
	}
	if err != nil {
		return err
	}
	return writeAs(w, r.Request, f, http.StatusOK, out)
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
				left := int64(0)
				for ; i < len(items); i++ {
					if o.matches(items[i].Object) {
						left++
					}
				}
				meta.RemainingItemCount = &left
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

// encodeList is the JSON of a list; its items say no kind, as those of a Kubernetes API server.
func encodeList(r *Resource, objects []store.Object, meta metav1.ListMeta) (json.RawMessage, error) {
	head, err := json.Marshal(struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
	}{metav1.TypeMeta{Kind: r.Kind + "List", APIVersion: r.GVK().GroupVersion().String()}, meta})
	if err != nil {
		return nil, fmt.Errorf("cannot encode a list: %w", err)
	}
	parts := make([][]byte, len(objects))
	size := len(head) + 16
	for i, obj := range objects {
		if parts[i], err = encodeItem(r, obj); err != nil {
			return nil, err
		}
		size += len(parts[i]) + 1
	}
	out := append(make([]byte, 0, size), head[:len(head)-1]...)
	out = append(out, `,"items":[`...)
	for i, p := range parts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, p...)
	}
	return slices.Concat(out, []byte("]}\n")), nil
}

func encodeItem(r *Resource, obj store.Object) ([]byte, error) {
	typed, err := Typed(r, obj)
	if err != nil {
		return nil, err
	}
	if typed == obj {
		typed = shallow(obj)
	}
	typed.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	data, err := json.Marshal(typed)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s %s: %w", r.Kind, obj.GetName(), err)
	}
	return data, nil
}

// partial is an object's metadata alone.
func partial(obj store.Object, version string) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/" + version}}
	p.ObjectMeta = metaOf(obj)
	return p
}

func partialList(objects []store.Object, meta metav1.ListMeta, version string) *metav1.PartialObjectMetadataList {
	l := &metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: "meta.k8s.io/" + version}, ListMeta: meta,
		Items: make([]metav1.PartialObjectMetadata, len(objects)),
	}
	for i, obj := range objects {
		l.Items[i] = *partial(obj, version)
	}
	return l
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
