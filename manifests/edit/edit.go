// Package edit changes one object of a manifest file in place: only the smallest nodes of the text that differ from the wish are written,
// everything else (comments, order, quotes, indents, line ends, anchors, other documents) stays as it is, byte for byte.
//
// What was written is proved before it is handed out: the new text is read like any manifest and must give the wished object, and every
// other object of the file unchanged. What cannot be written so is refused with an Error that says why.
package edit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"berth/manifests"
)

// Request is a change of an object that a file states.
type Request struct {
	// File is the path as the source names it, Data its content.
	File string
	Data []byte
	Key  manifests.Key
	// Hash is that of the object as it was seen; "" for whatever the file states now.
	Hash string
	// Seen is the object as the client saw it, as JSON reads it; nil for what the file states. What Wish has in common with it is not
	// written into the file, even where the file does not say it: defaults, addresses and bindings are the server's.
	Seen map[string]any
	// Wish is the object as it shall be. Fields that the server sets do not count.
	Wish map[string]any
}

// Invalid says that the wish is no valid object.
type Invalid struct {
	Faults []manifests.Fault
}

// Error lists the faults.
func (e *Invalid) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteString(", ")
		}
		if f.Field != "" {
			b.WriteString(f.Field + ": ")
		}
		b.WriteString(f.Text)
	}
	return b.String()
}

// maxSteps bounds the changes of one request: far more than anybody makes.
const maxSteps = 20_000

// Update returns the file with an object changed. It returns ErrNotThere when the file does not state it as it was seen.
func Update(r Request) ([]byte, error) {
	before := manifests.Decode(r.File, r.Data)
	there, ok := stated(before, r.Key)
	if !ok || r.Hash != "" && there.Hash != r.Hash {
		return nil, fmt.Errorf("cannot change %s in %s: %w", r.Key, r.File, ErrNotThere)
	}
	old, err := plain(there.Object)
	if err != nil {
		return nil, err
	}
	wish, err := r.rebased(there, old)
	if err != nil {
		return nil, err
	}
	wished, err := r.wished(there, old, wish)
	if err != nil {
		return nil, err
	}
	var firstErr error
	for _, whole := range []bool{false, true} { // a value may need what is the same as its default said with it
		data, err := write(r.Data, there, clone(old), clone(wish), whole)
		if err == nil {
			err = verify(before, manifests.Decode(r.File, data), r.Key, wished)
		}
		if err == nil {
			return data, nil
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	return nil, firstErr
}

// rebased is the wish as the file shall state it.
func (r *Request) rebased(there manifests.Object, old map[string]any) (map[string]any, error) {
	wish, err := Canonical(there.GVK, r.Wish)
	if err != nil {
		return nil, err
	}
	seen := old
	if r.Seen != nil {
		seen = Clean(r.Seen)
	}
	mergeStringData(there.GVK.Kind, wish)
	out, _ := rebase(seen, Clean(wish), old, reflect.TypeOf(there.Object), "").(map[string]any)
	return out, nil
}

// wished is what the new text must be read as, one of two. What the client did not change and the file does not say is a default, and a
// default may become another one: the pull policy when the tag of the image goes.
func (r *Request) wished(there manifests.Object, old, wish map[string]any) ([]manifests.Object, error) {
	full, err := read(r.Key, wish)
	if err != nil {
		return nil, err
	}
	all := []manifests.Object{full}
	d, err := open(r.Data, there)
	if err != nil || there.GVK.Kind == "Secret" {
		return all, err
	}
	said, _ := said(d.root, old, wish, reflect.TypeOf(there.Object), "").(map[string]any)
	identify(said, wish)
	if o, err := read(r.Key, said); err == nil {
		all = append(all, o)
	}
	return all, nil
}

// identify makes sure that an object says its name.
func identify(obj, as map[string]any) {
	meta, ok := obj["metadata"].(map[string]any)
	from, _ := as["metadata"].(map[string]any)
	if !ok {
		return
	}
	for _, name := range []string{"name", "namespace"} {
		if from[name] != nil {
			meta[name] = from[name]
		}
	}
}

// write makes the changes, one after the other.
func write(data []byte, there manifests.Object, old, wish map[string]any, whole bool) ([]byte, error) {
	if there.GVK.Kind == "Secret" && there.GVK.Group == "" {
		d, err := open(data, there)
		if err != nil {
			return nil, err
		}
		asStringData(d.root.get("stringData"), old, wish)
	}
	for range maxSteps {
		d, err := open(data, there)
		if err != nil {
			return nil, err
		}
		c := change{d: d, whole: whole}
		for range maxSteps {
			c.done = false
			if err := c.object(d.root, old, wish, reflect.TypeOf(there.Object), ""); err != nil {
				return nil, err
			}
			if !c.done || len(c.splices) > 0 {
				break
			}
		}
		if len(c.splices) == 0 {
			return data, nil
		}
		data = d.text.apply(c.splices)
	}
	return nil, &Error{Reason: "it takes too many changes"}
}

// verify holds the new text against the old: one object is as wished (nil: gone), the others are as they were.
func verify(before, after manifests.Decoded, key manifests.Key, wished []manifests.Object) error {
	if after.Incomplete && !before.Incomplete || len(after.Blocked) > len(before.Blocked) {
		for _, f := range after.Faults {
			if f.Severity == manifests.Error {
				return &Error{Line: f.Line, Field: f.Field, Reason: "the file would not be valid any more: " + f.Text}
			}
		}
		return &Error{Reason: "the file would not be valid any more"}
	}
	rest := after.Objects
	counts, _ := stated(before, key)
	for _, o := range before.Objects {
		if o.Key == key && o.Origin == counts.Origin {
			if wished == nil {
				continue
			}
			if len(rest) == 0 || !slices.ContainsFunc(wished, func(w manifests.Object) bool {
				return rest[0].Key == key && apiequality.Semantic.DeepEqual(rest[0].Object, w.Object)
			}) {
				return &Error{Line: o.Origin.Line, Reason: "the text would not be read as the wished object", Remedy: "change it in the file"}
			}
		} else if len(rest) == 0 || rest[0].Key != o.Key || rest[0].Hash != o.Hash {
			return &Error{Line: o.Origin.Line, Reason: fmt.Sprintf("%s in the same file would change too", o.Key), Remedy: "change it in the file"}
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return &Error{Reason: fmt.Sprintf("%s would appear in the file", rest[0].Key)}
	}
	return nil
}

// stated is an object of a file. Of two with the same name the last one counts.
func stated(d manifests.Decoded, key manifests.Key) (manifests.Object, bool) {
	for _, o := range slices.Backward(d.Objects) {
		if o.Key == key {
			return o, true
		}
	}
	return manifests.Object{}, false
}

// read reads a wish as a manifest is read.
func read(key manifests.Key, wish map[string]any) (manifests.Object, error) {
	data, err := json.Marshal(wish)
	if err != nil {
		return manifests.Object{}, fmt.Errorf("cannot encode %s: %w", key, err)
	}
	d := manifests.Decode("wish.json", data)
	o, ok := stated(d, key)
	if ok {
		return o, nil
	}
	var faults []manifests.Fault
	for _, f := range d.Faults {
		if f.Severity == manifests.Error {
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 {
		return manifests.Object{}, &Error{Reason: fmt.Sprintf("the object would not be %s any more", key)}
	}
	return manifests.Object{}, &Invalid{Faults: faults}
}

// plain is a typed object as JSON reads it, without what the server sets.
func plain(obj any) (map[string]any, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a %T: %w", obj, err)
	}
	var m map[string]any
	if err := utiljson.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("cannot decode a %T: %w", obj, err)
	}
	return Clean(m), nil
}

// document is the text around one object.
type document struct {
	text  *text
	span  span
	root  *node // the object
	style style
	alone bool // it is the only one of its document: no List
}

// open finds an object in the text of its file.
func open(data []byte, o manifests.Object) (*document, error) {
	t, err := newText(data)
	if err != nil {
		return nil, err
	}
	root, at, isJSON, err := t.documentAt(o.Origin.Doc)
	if err != nil {
		return nil, &Error{Line: o.Origin.Line, Reason: err.Error(), Remedy: "change it in the file"}
	}
	root.link()
	d := &document{text: t, span: at, style: styleOf(root, t.data, isJSON)}
	kind := strings.TrimSuffix(root.str("kind"), "List")
	var found *node
	for _, n := range objects(root) {
		if isObject(n, kind, o) && (found == nil || t.lineOf(firstKey(n)) == o.Origin.Line || t.lineOf(firstKey(found)) != o.Origin.Line) {
			found = n
		}
	}
	if found == nil || found.kind != mapping {
		return nil, &Error{Line: o.Origin.Line, Reason: "the object is not where it was read", Remedy: "change it in the file"}
	}
	d.root, d.alone = found, found == root
	return d, nil
}

func firstKey(n *node) int {
	if len(n.pairs) > 0 {
		return n.pairs[0].key.start
	}
	return n.start
}

// documentAt is a document of the text.
func (t *text) documentAt(doc int) (root *node, at span, isJSON bool, err error) {
	if trimmed := bytes.TrimLeft(t.data, " \t\n"); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		if roots, spans, err := parseJSON(t.data); err == nil {
			if doc >= len(roots) {
				return nil, span{}, true, ErrNotThere
			}
			return roots[doc], span{sep: spans[doc].sep, start: 0, end: len(t.data)}, true, nil
		}
	}
	docs := documents(t.data)
	if doc >= len(docs) {
		return nil, span{}, false, ErrNotThere
	}
	root, err = parseYAML(t.data, docs[doc])
	return root, docs[doc], false, err
}

// objects are the objects of a document: it itself, or the items of a List.
func objects(n *node) []*node {
	n = n.real()
	if n == nil || n.kind != mapping {
		return nil
	}
	items := n.get("items")
	if !strings.HasSuffix(n.str("kind"), "List") || items == nil || items.kind != sequence {
		return []*node{n}
	}
	var all []*node
	for _, it := range items.items {
		all = append(all, objects(it.value)...)
	}
	return all
}

// isObject compares what names an object. A kind that its List says need not be said again.
func isObject(n *node, listed string, o manifests.Object) bool {
	kind := n.str("kind")
	if kind == "" {
		kind = listed
	}
	meta := n.get("metadata")
	if meta == nil || kind != o.Key.Kind {
		return false
	}
	name := meta.str("name")
	if name == "" {
		return strings.HasPrefix(o.Key.Name, meta.str("generateName")) && meta.str("generateName") != ""
	}
	namespace := meta.str("namespace")
	return name == o.Key.Name && (o.Key.Namespace == "" || namespace == o.Key.Namespace || namespace == "" && o.Key.Namespace == "default")
}
