package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"berth/controller/api/table"
	"berth/controller/store"
)

// pieces are a list as it is sent: a head, and items that are encoded one at a time, so that a list of a thousand pods takes no more memory than a few of them.
type pieces struct {
	head  any    // an object with all members but the items
	items string // the member that has them, the last one
	item  func(store.Object) (any, error)
}

// sendFrom is how much of a list is gathered before it is sent.
const sendFrom = 64 << 10

// respondList answers with objects of the resource in the form that is asked for.
func (s *Server) respondList(w http.ResponseWriter, r *Request, f form, objects []store.Object, meta metav1.ListMeta) error {
	p := s.piecesOf(r, f, meta)
	if f.yaml {
		var buf bytes.Buffer
		if err := p.encode(&buf, objects, func() {}); err != nil {
			return err
		}
		data, err := yaml.JSONToYAML(buf.Bytes())
		if err != nil {
			return fmt.Errorf("cannot encode a list: %w", err)
		}
		writeBytes(w, r.Request, yamlType, http.StatusOK, data)
		return nil
	}
	var buf bytes.Buffer
	begun := false
	err := p.encode(&buf, objects, func() {
		if buf.Len() < sendFrom {
			return
		}
		if !begun {
			begin(w, jsonType, http.StatusOK)
			begun = true
		}
		_, _ = buf.WriteTo(w) // the client went away: nobody to tell
	})
	switch {
	case err != nil && begun:
		s.opts.Log.Error(err, "a list ends before its time")
		panic(http.ErrAbortHandler) // the client must not take it for whole
	case err != nil:
		return err
	case !begun:
		writeBytes(w, r.Request, jsonType, http.StatusOK, buf.Bytes())
	default:
		_, _ = buf.WriteTo(w) // as above
	}
	return nil
}

// piecesOf says what a list looks like in a form.
func (s *Server) piecesOf(r *Request, f form, meta metav1.ListMeta) *pieces {
	switch f.as {
	case "Table":
		t := s.newTabler(r)
		return &pieces{items: "rows", item: func(obj store.Object) (any, error) { return t.row(obj) }, head: struct {
			metav1.TypeMeta   `json:",inline"`
			metav1.ListMeta   `json:"metadata"`
			ColumnDefinitions []metav1.TableColumnDefinition `json:"columnDefinitions"`
		}{tableKind, meta, table.Columns(r.Resource.Kind)}}
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return &pieces{
			items: "items", item: func(obj store.Object) (any, error) { return partial(obj, f.version), nil },
			head: listHead("PartialObjectMetadataList", "meta.k8s.io/"+f.version, meta),
		}
	}
	return ownPieces(r.Resource, meta)
}

// ownPieces are those of a list of the resource's own kind. Its items say no kind, as those of a Kubernetes API server. An item is good until the next one is made: all are
// shown in one place, so that a list of a thousand pods does not leave a thousand of them to the garbage collector.
func ownPieces(r *Resource, meta metav1.ListMeta) *pieces {
	var shown reflect.Value
	return &pieces{head: listHead(r.Kind+"List", r.GVK().GroupVersion().String(), meta), items: "items", item: func(obj store.Object) (any, error) {
		typed, err := Typed(r, obj)
		if err != nil {
			return nil, err
		}
		v := reflect.ValueOf(typed).Elem()
		if !shown.IsValid() || shown.Type() != v.Type() {
			shown = reflect.New(v.Type()).Elem()
		}
		shown.Set(v)
		out, _ := reflect.TypeAssert[store.Object](shown.Addr()) // it is of typed's type
		out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return out, nil
	}}
}

func listHead(kind, version string, meta metav1.ListMeta) any {
	return struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
	}{metav1.TypeMeta{Kind: kind, APIVersion: version}, meta}
}

// encode writes the list into a buffer; after each item it calls sent, which may empty the buffer.
func (p *pieces) encode(buf *bytes.Buffer, objects []store.Object, sent func()) error {
	enc := json.NewEncoder(buf)
	if err := enc.Encode(p.head); err != nil {
		return fmt.Errorf("cannot encode a list: %w", err)
	}
	buf.Truncate(buf.Len() - len("}\n"))
	fmt.Fprintf(buf, ",%q:[", p.items)
	for i, obj := range objects {
		if i > 0 {
			buf.WriteByte(',')
		}
		item, err := p.item(obj)
		if err != nil {
			return err
		}
		if err := enc.Encode(item); err != nil {
			return fmt.Errorf("cannot encode %s: %w", obj.GetName(), err)
		}
		buf.Truncate(buf.Len() - len("\n"))
		sent()
	}
	buf.WriteString("]}\n")
	return nil
}

// encodeList is the JSON of a list of the resource's own kind.
func encodeList(r *Resource, objects []store.Object, meta metav1.ListMeta) (json.RawMessage, error) {
	var buf bytes.Buffer
	if err := ownPieces(r, meta).encode(&buf, objects, func() {}); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
