package openapi

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// builder collects the schemas that a document needs.
type builder struct {
	schemas object
	types   map[string]reflect.Type
}

// root enters the schema of a kind, and of all that is in it.
func (b *builder) root(t reflect.Type, gvk schema.GroupVersionKind) {
	name := b.enter(t)
	if s, ok := b.schemas[name].(object); ok {
		s["x-kubernetes-group-version-kind"] = []any{kindOf(gvk)}
	}
	b.schemas["io.k8s.apimachinery.pkg.apis.meta.v1.Patch"] = object{
		"type": "object", "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
	}
}

// enter makes a type known, and returns its name.
func (b *builder) enter(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := schemaName(t)
	if _, known := b.types[name]; !known {
		b.types[name] = t
		b.schemas[name] = object{} // types that hold themselves end here
		s := special(t)
		if s == nil {
			s = b.structure(t)
		} else if text := texts(t)[""]; text != "" {
			s["description"] = text
		}
		b.schemas[name] = s
	}
	return name
}

// schemaName is the name that Kubernetes gives a type.
func schemaName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	path := t.PkgPath()
	if rest, ok := strings.CutPrefix(path, "k8s.io/"); ok {
		path = "io.k8s." + rest
	}
	return strings.ReplaceAll(path, "/", ".") + "." + t.Name()
}

// documented are types that carry their texts.
type documented interface{ SwaggerDoc() map[string]string }

func texts(t reflect.Type) map[string]string {
	if d, ok := reflect.TypeAssert[documented](reflect.Zero(t)); ok {
		return d.SwaggerDoc()
	}
	return nil
}

func (b *builder) structure(t reflect.Type) object {
	doc := texts(t)
	s := object{"type": "object"}
	if doc[""] != "" {
		s["description"] = doc[""]
	}
	properties := object{}
	var must []string
	b.fields(t, doc, properties, &must)
	if len(properties) > 0 {
		s["properties"] = properties
	}
	if known, ok := required[short(t)]; ok {
		must = slices.Clone(known)
	}
	if len(must) > 0 {
		slices.Sort(must)
		s["required"] = must
	}
	if atomicTypes[short(t)] { // the others are merged field by field
		s["x-kubernetes-map-type"] = "atomic"
	}
	return s
}

// short is a type as the tables of marks name it: core/v1.Pod.
func short(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	return strings.Join(parts[max(0, len(parts)-2):], "/") + "." + t.Name()
}

func (b *builder) fields(t reflect.Type, doc map[string]string, properties object, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && name == "" || strings.Contains(options, "inline") {
			embedded := f.Type
			for embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			b.fields(embedded, texts(embedded), properties, required)
			continue
		}
		if name == "" {
			name = f.Name
		}
		p := b.property(t, name, &f)
		if text := doc[name]; text != "" {
			p["description"] = text
		}
		properties[name] = p
		if isRequired(f.Type, options, doc[name]) {
			*required = append(*required, name)
		}
	}
}

// isRequired tells what must be there: what is written even when it is empty, unless its text says otherwise.
func isRequired(t reflect.Type, options, text string) bool {
	if strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero") || t.Kind() == reflect.Pointer {
		return false
	}
	return !strings.HasPrefix(text, "Standard object") && !strings.Contains(text, "Optional")
}

// property is one field: its type, and how lists and maps in it are merged.
func (b *builder) property(owner reflect.Type, name string, f *reflect.StructField) object {
	p := b.of(f.Type)
	if ref, ok := p["$ref"]; ok { // beside a reference nothing else counts
		p = object{"allOf": []any{object{"$ref": ref}}}
		if f.Type.Kind() != reflect.Pointer {
			p["default"] = object{}
		}
	}
	strategy, key := f.Tag.Get("patchStrategy"), f.Tag.Get("patchMergeKey")
	if strategy != "" {
		p["x-kubernetes-patch-strategy"] = strategy
	}
	if key != "" {
		p["x-kubernetes-patch-merge-key"] = key
	}
	place := short(owner) + "." + name
	if d, ok := defaults[place]; ok {
		p["default"] = d
	}
	switch f.Type.Kind() { //nolint:exhaustive // the others have no parts
	case reflect.Slice:
		if f.Type.Elem().Kind() != reflect.Uint8 {
			mergeList(p, place, strategy, key)
		}
	case reflect.Map:
		if atomicMaps[place] {
			p["x-kubernetes-map-type"] = "atomic"
		}
	}
	return p
}

func mergeList(p object, place, strategy, key string) {
	keys := listKeys[place]
	if keys == nil && key != "" && strings.Contains(strategy, "merge") {
		keys = []string{key}
	}
	switch {
	case sets[place]:
		p["x-kubernetes-list-type"] = "set"
	case keys != nil && !atomicLists[place]:
		p["x-kubernetes-list-type"] = "map"
		p["x-kubernetes-list-map-keys"] = keys
	default:
		p["x-kubernetes-list-type"] = "atomic"
	}
}

// of is the schema of a type.
func (b *builder) of(t reflect.Type) object {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		if values := enums[short(t)]; values != nil {
			return object{"type": "string", "enum": values}
		}
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int32, reflect.Int16, reflect.Int8, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return object{"type": "integer", "format": "int32"}
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Uint:
		return object{"type": "integer", "format": "int64"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number", "format": "double"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "format": "byte"}
		}
		return object{"type": "array", "items": b.item(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": b.item(t.Elem())}
	case reflect.Struct:
		return reference(b.enter(t))
	default:
		return object{"type": "object"}
	}
}

// item is what is in a list or map: with the default of its type, as Kubernetes says it.
func (b *builder) item(t reflect.Type) object {
	s := b.of(t)
	if ref, ok := s["$ref"]; ok {
		return object{"allOf": []any{object{"$ref": ref}}, "default": object{}}
	}
	if s["type"] == "string" && s["format"] == nil {
		s["default"] = ""
	}
	return s
}

// special are types that read and write their JSON themselves.
func special(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[metav1.Duration]():
		return object{"type": "string"}
	case reflect.TypeFor[resource.Quantity]():
		return object{"oneOf": []any{object{"type": "string"}, object{"type": "number"}}}
	case reflect.TypeFor[intstr.IntOrString]():
		return object{"format": "int-or-string", "oneOf": []any{object{"type": "integer"}, object{"type": "string"}}}
	case reflect.TypeFor[kruntime.RawExtension](), reflect.TypeFor[metav1.FieldsV1]():
		return object{"type": "object"}
	}
	return nil
}
