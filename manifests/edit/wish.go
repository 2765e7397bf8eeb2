package edit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"berth/manifests"
)

// Clean is an object as JSON reads it without what the server sets and a file never says. What is given stays as it is.
func Clean(obj map[string]any) map[string]any {
	out := maps.Clone(obj)
	delete(out, "status")
	if meta, ok := out["metadata"].(map[string]any); ok {
		meta = maps.Clone(meta)
		for _, name := range []string{
			"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds",
		} {
			delete(meta, name)
		}
		out["metadata"] = meta
	}
	if spec, ok := out["spec"].(map[string]any); ok && out["kind"] == "Namespace" {
		spec = maps.Clone(spec)
		delete(spec, "finalizers") // every namespace is shown with one that nobody states
		if out["spec"] = spec; len(spec) == 0 {
			delete(out, "spec")
		}
	}
	return withoutNulls(out).(map[string]any) //nolint:forcetypeassert // a map stays one
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			if value != nil {
				out[name] = withoutNulls(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = withoutNulls(v[i])
		}
		return out
	}
	return v
}

func clone(m map[string]any) map[string]any { return withoutNulls(m).(map[string]any) } //nolint:forcetypeassert // a map stays one

// Canonical is an object as its type writes it (quantities in one form), but without anything that it does not say itself. A kind without
// a type stays as it is.
func Canonical(gvk schema.GroupVersionKind, obj map[string]any) (map[string]any, error) {
	typed, err := manifests.Scheme().New(gvk)
	if err != nil {
		return obj, nil //nolint:nilerr // no type: nothing to compare with
	}
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a %s: %w", gvk.Kind, err)
	}
	if err := utiljson.Unmarshal(data, typed); err != nil {
		return nil, &Invalid{Faults: []manifests.Fault{{Severity: manifests.Error, Text: err.Error()}}}
	}
	if data, err = json.Marshal(typed); err != nil {
		return nil, fmt.Errorf("cannot encode a %s: %w", gvk.Kind, err)
	}
	var full map[string]any
	if err := utiljson.Unmarshal(data, &full); err != nil {
		return nil, fmt.Errorf("cannot decode a %s: %w", gvk.Kind, err)
	}
	out, _ := common(full, obj).(map[string]any)
	out["apiVersion"], out["kind"] = gvk.GroupVersion().String(), gvk.Kind
	return out, nil
}

// common is what of a value is said in another one too.
func common(full, said any) any {
	switch f := full.(type) {
	case map[string]any:
		s, ok := said.(map[string]any)
		if !ok {
			return full
		}
		out := map[string]any{}
		for name, v := range f {
			if v2, ok := s[name]; ok {
				out[name] = common(v, v2)
			}
		}
		return out
	case []any:
		s, ok := said.([]any)
		if !ok || len(s) != len(f) {
			return full
		}
		out := make([]any, len(f))
		for i := range f {
			out[i] = common(f[i], s[i])
		}
		return out
	}
	return full
}

// mergeStringData does with the text of a Secret what the server does: it is data.
func mergeStringData(kind string, obj map[string]any) {
	texts, ok := obj["stringData"].(map[string]any)
	if kind != "Secret" || !ok {
		return
	}
	data, _ := obj["data"].(map[string]any)
	data = maps.Clone(data)
	if data == nil {
		data = map[string]any{}
	}
	for name, v := range texts {
		if s, ok := v.(string); ok {
			data[name] = base64.StdEncoding.EncodeToString([]byte(s))
		}
	}
	obj["data"] = data
	delete(obj, "stringData")
}

// asStringData writes as text what the file has as text.
func asStringData(n *node, objs ...map[string]any) {
	if n == nil || n.kind != mapping {
		return
	}
	for _, obj := range objs {
		data, _ := obj["data"].(map[string]any)
		texts := map[string]any{}
		for name, v := range data {
			s, _ := v.(string)
			if text, err := base64.StdEncoding.DecodeString(s); err == nil && n.find(name) >= 0 && isText(string(text)) {
				texts[name] = string(text)
				delete(data, name)
			}
		}
		if len(data) == 0 {
			delete(obj, "data")
		}
		if len(texts) > 0 {
			obj["stringData"] = texts
		}
	}
}

func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }) < 0
}
