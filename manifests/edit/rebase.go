package edit

import (
	"reflect"
	"slices"
)

// rebase carries what a client has changed, from the object it saw to the one it wishes, over to the object as the file states it: what the
// server added (addresses, bindings) the client saw and did not change, and it stays out of the file.
func rebase(seen, wish, file any, t reflect.Type, key string) any {
	if same(seen, wish) {
		return file
	}
	if same(seen, file) {
		return wish
	}
	switch w := wish.(type) {
	case map[string]any:
		s, ok1 := seen.(map[string]any)
		f, ok2 := file.(map[string]any)
		if ok1 && ok2 {
			return rebaseMap(s, w, f, t)
		}
	case []any:
		s, ok1 := seen.([]any)
		f, ok2 := file.([]any)
		if ok1 && ok2 && len(s) == len(f) {
			return rebaseList(s, w, f, t, key)
		}
	}
	return wish
}

func rebaseMap(seen, wish, file map[string]any, t reflect.Type) any {
	out := map[string]any{}
	for name, v := range file {
		_, wanted := wish[name]
		_, known := seen[name]
		if wanted || !known {
			out[name] = v
		}
	}
	for name, w := range wish {
		of, key := fieldOf(t, name)
		if v := rebase(seen[name], w, file[name], of, key); v != nil {
			out[name] = v
		} else {
			delete(out, name)
		}
	}
	return out
}

func rebaseList(seen, wish, file []any, t reflect.Type, key string) any {
	out := slices.Clone(wish)
	for _, m := range align(seen, wish, key) {
		out[m.j] = rebase(seen[m.i], wish[m.j], file[m.i], elemOf(t), "")
	}
	return out
}

// same compares JSON values; null is nothing.
func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// sparse is what of a wish differs from what is there without being said.
func sparse(wish, there any) any {
	w, ok1 := wish.(map[string]any)
	h, ok2 := there.(map[string]any)
	if !ok1 || !ok2 {
		return wish
	}
	out := map[string]any{}
	for name, v := range w {
		if !same(v, h[name]) {
			out[name] = sparse(v, h[name])
		}
	}
	return out
}

// said is what of a wish the text says now, or will have to say because it is not what is there.
func said(n *node, old, wish any, t reflect.Type, key string) any {
	if n = n.real(); n == nil {
		return wish
	}
	switch w := wish.(type) {
	case map[string]any:
		o, ok := old.(map[string]any)
		if !ok || n.kind != mapping {
			return wish
		}
		out := map[string]any{}
		for name, v := range w {
			of, key := fieldOf(t, name)
			if child := n.get(name); child != nil {
				out[name] = said(child, o[name], v, of, key)
			} else if !same(o[name], v) {
				out[name] = v
			}
		}
		return out
	case []any:
		o, ok := old.([]any)
		if !ok || n.kind != sequence || len(n.items) != len(o) {
			return wish
		}
		out := slices.Clone(w)
		for _, m := range align(o, w, key) {
			out[m.j] = said(n.items[m.i].value, o[m.i], w[m.j], elemOf(t), "")
		}
		return out
	}
	return wish
}
