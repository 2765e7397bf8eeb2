package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Directives of a strategic merge patch.
const (
	directive       = "$patch"
	retainKeys      = "$retainKeys"
	deletePrimitive = "$deleteFromPrimitiveList/"
	elementOrder    = "$setElementOrder/"
)

// strategicMerge applies a strategic merge patch: lists whose type names a key are merged by it, maps may say that they replace or delete.
// It may change doc.
func strategicMerge(doc, patch map[string]any, t reflect.Type) (map[string]any, error) {
	if doc == nil {
		doc = map[string]any{}
	}
	switch patch[directive] {
	case nil, "merge":
	case "replace":
		patch = maps.Clone(patch)
		delete(patch, directive)
		return cleared(patch), nil
	case "delete":
		return map[string]any{}, nil
	default:
		return nil, fmt.Errorf("unknown patch type found: %v", patch[directive])
	}
	if keep, ok := patch[retainKeys].([]any); ok {
		for name := range doc {
			if !slices.Contains(keep, any(name)) {
				delete(doc, name)
			}
		}
	}
	for name, v := range patch {
		if name == directive || name == retainKeys || strings.HasPrefix(name, elementOrder) {
			continue
		}
		if field, ok := strings.CutPrefix(name, deletePrimitive); ok {
			gone, _ := v.([]any)
			have, _ := doc[field].([]any)
			doc[field] = slices.DeleteFunc(slices.Clone(have), func(e any) bool {
				return slices.ContainsFunc(gone, func(g any) bool { return reflect.DeepEqual(g, e) })
			})
			continue
		}
		if err := mergeField(doc, name, v, patch, t); err != nil {
			return nil, err
		}
	}
	for name, v := range patch { // lists that are only put in order
		field, ok := strings.CutPrefix(name, elementOrder)
		if have, is := doc[field].([]any); ok && is {
			f := fieldOf(t, field)
			doc[field] = inOrder(have, v, f.key)
		}
	}
	return doc, nil
}

func mergeField(doc map[string]any, name string, v any, _ map[string]any, t reflect.Type) error {
	f := fieldOf(t, name)
	switch v := v.(type) {
	case nil:
		delete(doc, name)
	case map[string]any:
		if f.replace && v[directive] == nil {
			doc[name] = cleared(v)
			return nil
		}
		have, _ := doc[name].(map[string]any)
		out, err := strategicMerge(have, v, f.of)
		if err != nil {
			return err
		}
		if v[directive] == "delete" {
			delete(doc, name)
			return nil
		}
		doc[name] = out
	case []any:
		have, _ := doc[name].([]any)
		out, err := mergeList(have, v, f)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		doc[name] = out
	default:
		doc[name] = v
	}
	return nil
}

// cleared is a value without nulls and directives.
func cleared(m map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range m {
		if v == nil || name == directive || name == retainKeys || strings.HasPrefix(name, elementOrder) || strings.HasPrefix(name, deletePrimitive) {
			continue
		}
		if below, ok := v.(map[string]any); ok {
			v = cleared(below)
		}
		out[name] = v
	}
	return out
}

func mergeList(have, patch []any, f fieldType) ([]any, error) {
	if !f.merge {
		return patch, nil
	}
	if f.key == "" {
		out := slices.Clone(have)
		for _, v := range patch {
			if !slices.ContainsFunc(out, func(e any) bool { return reflect.DeepEqual(e, v) }) {
				out = append(out, v)
			}
		}
		return out, nil
	}
	for _, v := range patch {
		if m, ok := v.(map[string]any); ok && m[directive] == "replace" && len(m) == 1 {
			return slices.DeleteFunc(slices.Clone(patch), func(e any) bool { return reflect.DeepEqual(e, v) }), nil
		}
	}
	out := slices.Clone(have)
	for _, v := range patch {
		m, ok := v.(map[string]any)
		if !ok || m[f.key] == nil {
			return nil, fmt.Errorf("map: %s does not contain declared merge key: %s", text(v), f.key)
		}
		i := slices.IndexFunc(out, func(e any) bool { return keyOf(e, f.key) == text(m[f.key]) })
		if m[directive] == "delete" {
			if i >= 0 {
				out = slices.Delete(out, i, i+1)
			}
			continue
		}
		if i < 0 {
			out = append(out, cleared(m))
			continue
		}
		old, _ := out[i].(map[string]any)
		merged, err := strategicMerge(old, m, f.elem())
		if err != nil {
			return nil, err
		}
		out[i] = merged
	}
	return out, nil
}

// inOrder sorts a list as a patch says; what it does not name stays behind what it stood behind.
func inOrder(have []any, order any, key string) []any {
	wanted, _ := order.([]any)
	rank := map[string]int{}
	for i, v := range wanted {
		rank[keyOf(v, key)] = i
	}
	type placed struct {
		v    any
		rank int
	}
	list := make([]placed, len(have))
	last := -1
	for i, v := range have {
		if r, ok := rank[keyOf(v, key)]; ok {
			last = r
		}
		list[i] = placed{v, last}
	}
	slices.SortStableFunc(list, func(a, b placed) int { return a.rank - b.rank })
	out := make([]any, len(list))
	for i := range list {
		out[i] = list[i].v
	}
	return out
}

func keyOf(v any, key string) string {
	if m, ok := v.(map[string]any); ok && key != "" {
		return text(m[key])
	}
	return text(v)
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "" // what came from JSON is JSON
	}
	return string(data)
}

// fieldType is what a Go type says of a field: how a patch is merged into it.
type fieldType struct {
	of      reflect.Type
	key     string // patchMergeKey
	merge   bool   // patchStrategy of a list: merge
	replace bool   // patchStrategy of a map: replace
}

func (f fieldType) elem() reflect.Type {
	if t := deref(f.of); t != nil && t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return nil
}

func fieldOf(t reflect.Type, name string) fieldType {
	if t = deref(t); t == nil {
		return fieldType{}
	}
	if t.Kind() == reflect.Map {
		return fieldType{of: t.Elem()}
	}
	if t.Kind() != reflect.Struct {
		return fieldType{}
	}
	for f := range t.Fields() {
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name && tag != "" {
			strategy := strings.Split(f.Tag.Get("patchStrategy"), ",")
			return fieldType{of: f.Type, key: f.Tag.Get("patchMergeKey"), merge: slices.Contains(strategy, "merge"), replace: slices.Contains(strategy, "replace")}
		}
		if f.Anonymous && (tag == "" || strings.Contains(opts, "inline")) {
			if found := fieldOf(f.Type, name); found.of != nil {
				return found
			}
		}
	}
	return fieldType{}
}

func deref(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
