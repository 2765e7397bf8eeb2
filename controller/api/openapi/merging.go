package openapi

import (
	"reflect"
	"strings"
)

// Merging is how server-side apply merges the value of a field: a list by the keys of its entries, as a set, or as a whole; everything else field by
// field, unless it is atomic.
type Merging struct {
	// Type is the field's own; nil when there is no such field.
	Type        reflect.Type
	Keys        []string
	Set, Atomic bool
}

// MergingOf finds a field of a type by its JSON name.
func MergingOf(t reflect.Type, name string) Merging {
	if t = pointed(t); t == nil {
		return Merging{}
	}
	if t.Kind() == reflect.Map {
		return valueOf(t.Elem())
	}
	if t.Kind() != reflect.Struct {
		return Merging{}
	}
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "" && f.Anonymous || strings.Contains(options, "inline") {
			if m := MergingOf(f.Type, name); m.Type != nil {
				return m
			}
			continue
		}
		if tag != name || tag == "" {
			continue
		}
		m := valueOf(f.Type)
		place := short(t) + "." + name
		m.Atomic = m.Atomic || atomicMaps[place]
		if f.Type.Kind() == reflect.Slice {
			p := object{}
			mergeList(p, place, f.Tag.Get("patchStrategy"), f.Tag.Get("patchMergeKey"))
			m.Keys, _ = p["x-kubernetes-list-map-keys"].([]string)
			m.Set = p["x-kubernetes-list-type"] == "set"
			m.Atomic = p["x-kubernetes-list-type"] == "atomic"
		}
		return m
	}
	return Merging{}
}

// ItemOf is how the entries of a list are merged.
func ItemOf(t reflect.Type) Merging {
	if t = pointed(t); t == nil || t.Kind() != reflect.Slice {
		return Merging{}
	}
	return valueOf(t.Elem())
}

func valueOf(t reflect.Type) Merging {
	m := Merging{Type: t}
	if p := pointed(t); p.Kind() == reflect.Struct {
		m.Atomic = atomicTypes[short(p)] || special(p) != nil
	}
	return m
}

func pointed(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
