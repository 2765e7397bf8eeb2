package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"berth/controller/store"
	"berth/manifests"
)

// Media types that are spoken.
const (
	jsonType = "application/json"
	yamlType = "application/yaml"
)

// form is how an answer is wanted: in which encoding, and as what.
type form struct {
	yaml bool
	// as is "", Table, PartialObjectMetadata, PartialObjectMetadataList or APIGroupDiscoveryList, version that of its group.
	as, version string
}

// negotiate finds the first form of an Accept header that there is. known tells what may be asked for beside the object itself.
func negotiate(accept string, known func(as, group, version string) bool) (form, error) {
	if strings.TrimSpace(accept) == "" {
		return form{}, nil
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		var f form
		switch media {
		case jsonType, "*/*", "application/*":
		case yamlType, "text/yaml", "application/x-yaml":
			f.yaml = true
		default:
			continue
		}
		if as := params["as"]; as != "" {
			if !known(as, params["g"], params["v"]) {
				continue
			}
			f.as, f.version = as, params["v"]
		}
		return f, nil
	}
	return form{}, errNotAcceptable(jsonType + ", " + yamlType)
}

func onlyItself(string, string, string) bool { return false }

// transformable are the forms that lists and objects can be had in.
func transformable(as, group, version string) bool {
	if group != "meta.k8s.io" || version != "v1" && version != "v1beta1" {
		return false
	}
	return as == "Table" || as == "PartialObjectMetadata" || as == "PartialObjectMetadataList"
}

// Respond answers with an object, in the encoding the client accepts. The object must have its kind; see Typed.
func (s *Server) Respond(w http.ResponseWriter, r *Request, code int, obj any) error {
	return s.write(w, r.Request, code, obj)
}

func (s *Server) write(w http.ResponseWriter, hr *http.Request, code int, obj any) error {
	f, err := negotiate(hr.Header.Get("Accept"), onlyItself)
	if err != nil {
		return err
	}
	return writeAs(w, hr, f, code, obj)
}

func writeAs(w http.ResponseWriter, hr *http.Request, f form, code int, obj any) error {
	data, err := encode(f, obj)
	if err != nil {
		return err
	}
	media := jsonType
	if f.yaml {
		media = yamlType
	}
	writeBytes(w, hr, media, code, data)
	return nil
}

// encode makes bytes of an object; raw JSON is taken as it is.
func encode(f form, obj any) ([]byte, error) {
	data, ok := obj.(json.RawMessage)
	if !ok {
		var buf bytes.Buffer
		if err := json.NewEncoder(&buf).Encode(obj); err != nil {
			return nil, fmt.Errorf("cannot encode %T: %w", obj, err)
		}
		data = buf.Bytes()
	}
	if !f.yaml {
		return data, nil
	}
	data, err := yaml.JSONToYAML(data)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %T: %w", obj, err)
	}
	return data, nil
}

// gzipFrom is the size from which answers are compressed: below it costs more than it saves, on loopback as well.
const gzipFrom = 128 << 10

// begin writes the head of an answer.
func begin(w http.ResponseWriter, media string, code int) {
	w.Header().Set("Content-Type", media)
	w.Header().Add("Vary", "Accept")
	w.WriteHeader(code)
}

func writeBytes(w http.ResponseWriter, hr *http.Request, media string, code int, data []byte) {
	if len(data) >= gzipFrom && strings.Contains(hr.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		begin(w, media, code)
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level exists
		_, _ = z.Write(data)                           // the client went away: nobody to tell
		_ = z.Close()
		return
	}
	begin(w, media, code)
	_, _ = w.Write(data) // the client went away: nobody to tell
}

// Typed is an object of the store as a resource shows it: with apiVersion and kind, and converted when the resource is of another version than the
// store's. The object itself is not changed.
func Typed(r *Resource, obj store.Object) (store.Object, error) {
	return withKind(r.GVK(), obj)
}

func withKind(gvk schema.GroupVersionKind, obj store.Object) (store.Object, error) {
	obj = present(obj)
	have := obj.GetObjectKind().GroupVersionKind()
	event, isEvent := obj.(*corev1.Event)
	counted := obj.GetGeneration() == 0 || generations[gvk.Kind]
	switch {
	case isEvent && gvk.Group == eventsv1.GroupName:
		obj = newEvent(event)
	case !have.Empty() && have != gvk:
		converted, err := convert(obj, gvk)
		if err != nil {
			return nil, err
		}
		obj = converted
	case have == gvk && counted:
		return obj, nil
	default:
		obj = shallow(obj)
	}
	if !counted {
		obj.SetGeneration(0)
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

// shallow is a copy of a typed object that shares all its parts.
func shallow(obj store.Object) store.Object {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return obj.DeepCopyObject().(store.Object)
	}
	c := reflect.New(v.Type().Elem())
	c.Elem().Set(v.Elem())
	return c.Interface().(store.Object)
}

// convert makes another version of an object, by way of the internal one.
func convert(obj kruntime.Object, to schema.GroupVersionKind) (store.Object, error) {
	scheme := manifests.Scheme()
	internal, err := scheme.ConvertToVersion(obj, schema.GroupVersion{Group: to.Group, Version: kruntime.APIVersionInternal})
	if err != nil {
		return nil, fmt.Errorf("cannot convert a %T: %w", obj, err)
	}
	out, err := scheme.ConvertToVersion(internal, to.GroupVersion())
	if err != nil {
		return nil, fmt.Errorf("cannot convert a %T to %s: %w", obj, to, err)
	}
	typed, ok := out.(store.Object)
	if !ok {
		return nil, fmt.Errorf("cannot convert a %T to %s", obj, to)
	}
	return typed, nil
}
