package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from"`
	Value json.RawMessage `json:"value"`
}

// maxOperations is how many a patch may have, as in Kubernetes.
const maxOperations = 10_000

// jsonPatch applies a patch to a JSON value, which it may change.
func jsonPatch(doc any, ops []operation) (any, error) {
	if len(ops) > maxOperations {
		return nil, fmt.Errorf("the allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(ops))
	}
	for _, op := range ops {
		var err error
		if doc, err = op.apply(doc); err != nil {
			return nil, fmt.Errorf("cannot %s %q: %w", op.Op, op.Path, err)
		}
	}
	return doc, nil
}

func (op *operation) apply(doc any) (any, error) { //nolint:gocognit // one case per operation of RFC 6902
	path, err := pointer(op.Path)
	if err != nil {
		return nil, err
	}
	switch op.Op {
	case "add", "replace", "test":
		var value any
		if len(op.Value) == 0 {
			return nil, fmt.Errorf("it has no value")
		}
		if err := utiljson.Unmarshal(op.Value, &value); err != nil {
			return nil, err
		}
		if op.Op == "test" {
			have, err := lookup(doc, path)
			if err != nil || !reflect.DeepEqual(have, value) {
				return nil, fmt.Errorf("testing value %s failed", op.Path)
			}
			return doc, nil
		}
		if op.Op == "replace" {
			if _, err := lookup(doc, path); err != nil {
				return nil, err
			}
		}
		return change(doc, path, func(any, bool) (any, error) { return value, nil }, op.Op == "add")
	case "remove":
		if _, err := lookup(doc, path); err != nil {
			return nil, err
		}
		return cut(doc, path)
	case "move", "copy":
		from, err := pointer(op.From)
		if err != nil {
			return nil, err
		}
		value, err := lookup(doc, from)
		if err != nil {
			return nil, err
		}
		value = cloneJSON(value)
		if op.Op == "move" {
			if doc, err = cut(doc, from); err != nil {
				return nil, err
			}
		}
		return change(doc, path, func(any, bool) (any, error) { return value, nil }, true)
	}
	return nil, fmt.Errorf("there is no such operation")
}

func pointer(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' {
		return nil, fmt.Errorf("a path begins with a slash")
	}
	parts := strings.Split(text[1:], "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts, nil
}

func lookup(doc any, path []string) (any, error) {
	for _, step := range path {
		switch d := doc.(type) {
		case map[string]any:
			v, ok := d[step]
			if !ok {
				return nil, fmt.Errorf("there is no key %q", step)
			}
			doc = v
		case []any:
			i, err := index(step, len(d)-1)
			if err != nil {
				return nil, err
			}
			doc = d[i]
		default:
			return nil, fmt.Errorf("there is nothing below %q", step)
		}
	}
	return doc, nil
}

func index(step string, last int) (int, error) {
	i, err := strconv.Atoi(step)
	if err != nil || i < 0 || i > last || step != strconv.Itoa(i) {
		return 0, fmt.Errorf("there is no index %q", step)
	}
	return i, nil
}

// change sets what a path names; in a list an entry is put in where insert says so.
func change(doc any, path []string, set func(old any, there bool) (any, error), insert bool) (any, error) {
	if len(path) == 0 {
		return set(doc, true)
	}
	step := path[0]
	switch d := doc.(type) {
	case map[string]any:
		old, there := d[step]
		if !there && len(path) > 1 {
			return nil, fmt.Errorf("there is no key %q", step)
		}
		v, err := change(old, path[1:], set, insert)
		if err == nil {
			d[step] = v
		}
		return d, err
	case []any:
		if insert && len(path) == 1 {
			at := len(d)
			if step != "-" {
				var err error
				if at, err = index(step, len(d)); err != nil {
					return nil, err
				}
			}
			v, err := set(nil, false)
			return slices.Insert(slices.Clone(d), at, v), err
		}
		i, err := index(step, len(d)-1)
		if err != nil {
			return nil, err
		}
		d[i], err = change(d[i], path[1:], set, insert)
		return d, err
	}
	return nil, fmt.Errorf("there is nothing below %q", step)
}

func cut(doc any, path []string) (any, error) {
	if len(path) == 0 {
		return nil, nil
	}
	parent, last := path[:len(path)-1], path[len(path)-1]
	return change(doc, parent, func(old any, _ bool) (any, error) {
		switch d := old.(type) {
		case map[string]any:
			delete(d, last)
			return d, nil
		case []any:
			i, err := index(last, len(d)-1)
			if err != nil {
				return nil, err
			}
			return slices.Delete(slices.Clone(d), i, i+1), nil
		}
		return nil, fmt.Errorf("there is nothing below %q", last)
	}, false)
}

func cloneJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for name := range out {
			out[name] = cloneJSON(out[name])
		}
		return out
	case []any:
		out := slices.Clone(v)
		for i := range out {
			out[i] = cloneJSON(out[i])
		}
		return out
	}
	return v
}

// mergePatch applies a merge patch (RFC 7386).
func mergePatch(doc, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	d, _ := doc.(map[string]any)
	if d == nil {
		d = map[string]any{}
	}
	for name, v := range p {
		if v == nil {
			delete(d, name)
		} else {
			d[name] = mergePatch(d[name], v)
		}
	}
	return d
}
