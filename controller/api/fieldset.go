package api

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/api/openapi"
)

// fieldSet are fields with their values, by path. A path is the elements of FieldsV1 (f:spec, k:{"name":"a"}, v:"x", and . for the entry of a list
// itself), joined by NUL.
type fieldSet map[string]any

const pathSep = "\x00"

// saidBy are the fields that an object says. What names it is nobody's.
func saidBy(obj map[string]any, t reflect.Type) fieldSet {
	set := fieldSet{}
	collect(set, "", withoutIdentity(obj), openapi.Merging{Type: t})
	delete(set, "") // an object that says nothing
	return set
}

func withoutIdentity(obj map[string]any) map[string]any {
	out := maps.Clone(obj)
	for _, name := range []string{"apiVersion", "kind", "status"} {
		delete(out, name)
	}
	if meta, ok := out["metadata"].(map[string]any); ok {
		meta = maps.Clone(meta)
		for _, name := range []string{"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "generateName"} {
			delete(meta, name)
		}
		out["metadata"] = meta
		if len(meta) == 0 {
			delete(out, "metadata")
		}
	}
	return out
}

func collect(set fieldSet, path string, v any, m openapi.Merging) {
	switch v := v.(type) {
	case map[string]any:
		if m.Atomic || len(v) == 0 {
			break
		}
		for name, below := range v {
			collect(set, extend(path, "f:"+name), below, openapi.MergingOf(m.Type, name))
		}
		return
	case []any:
		if m.Atomic || len(m.Keys) == 0 && !m.Set || len(v) == 0 {
			break
		}
		for _, e := range v {
			at := extend(path, element(e, m))
			if m.Set {
				set[at] = e
				continue
			}
			set[extend(at, ".")] = true
			collect(set, at, e, openapi.ItemOf(m.Type))
		}
		return
	}
	set[path] = v
}

func extend(path, step string) string {
	if path == "" {
		return step
	}
	return path + pathSep + step
}

// element names an entry of a list.
func element(e any, m openapi.Merging) string {
	if m.Set {
		return "v:" + text(e)
	}
	key := map[string]any{}
	entry, _ := e.(map[string]any)
	for _, k := range m.Keys {
		key[k] = entry[k]
		if key[k] == nil && k == "protocol" {
			key[k] = "TCP"
		}
	}
	return "k:" + text(key)
}

// merged puts what is applied into what there is.
func merged(live, applied any, m openapi.Merging) any {
	switch a := applied.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok || m.Atomic {
			return applied
		}
		out := maps.Clone(l)
		for name, v := range a {
			out[name] = merged(l[name], v, openapi.MergingOf(m.Type, name))
		}
		return out
	case []any:
		l, ok := live.([]any)
		if !ok || m.Atomic || len(m.Keys) == 0 && !m.Set {
			return applied
		}
		out := slices.Clone(l)
		for _, e := range a {
			name := element(e, m)
			i := slices.IndexFunc(out, func(have any) bool { return element(have, m) == name })
			switch {
			case i < 0:
				out = append(out, e)
			case !m.Set:
				out[i] = merged(out[i], e, openapi.ItemOf(m.Type))
			}
		}
		return out
	}
	return applied
}

// without takes a field out. What is not there is as good as gone.
func without(v any, path []string, m openapi.Merging) any {
	switch v := v.(type) {
	case map[string]any:
		name, ok := strings.CutPrefix(path[0], "f:")
		if !ok {
			return v
		}
		if len(path) == 1 {
			delete(v, name)
			return v
		}
		if below, ok := v[name]; ok {
			v[name] = without(below, path[1:], openapi.MergingOf(m.Type, name))
			if e, ok := v[name].(map[string]any); ok && len(e) == 0 {
				delete(v, name)
			}
			if e, ok := v[name].([]any); ok && len(e) == 0 {
				delete(v, name)
			}
		}
		return v
	case []any:
		i := slices.IndexFunc(v, func(e any) bool { return element(e, m) == path[0] })
		switch {
		case i < 0:
		case len(path) == 1 || path[1] == ".":
			return slices.Delete(slices.Clone(v), i, i+1)
		default:
			v[i] = without(v[i], path[1:], openapi.ItemOf(m.Type))
		}
		return v
	}
	return v
}

// encode is the set as FieldsV1.
func (s fieldSet) encode() *metav1.FieldsV1 {
	tree := map[string]any{}
	for path := range s {
		at := tree
		for step := range strings.SplitSeq(path, pathSep) {
			below, ok := at[step].(map[string]any)
			if !ok {
				below = map[string]any{}
				at[step] = below
			}
			at = below
		}
	}
	data, err := json.Marshal(tree)
	if err != nil {
		data = []byte("{}") // maps of strings always marshal
	}
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes(data)
	return fields
}

// ownedBy reads the fields of an entry, without values.
func ownedBy(e *metav1.ManagedFieldsEntry) fieldSet {
	set := fieldSet{}
	var tree map[string]any
	if e.FieldsV1 == nil || json.Unmarshal(e.FieldsV1.GetRawBytes(), &tree) != nil {
		return set
	}
	var walk func(path string, tree map[string]any)
	walk = func(path string, tree map[string]any) {
		if len(tree) == 0 && path != "" {
			set[path] = nil
		}
		for step, below := range tree {
			m, _ := below.(map[string]any)
			walk(extend(path, step), m)
		}
	}
	walk("", tree)
	return set
}
