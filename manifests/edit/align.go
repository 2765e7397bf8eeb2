package edit

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// match pairs entry i of an old list with entry j of a new one.
type match struct{ i, j int }

// align pairs the entries of two lists that are the same thing, in the order of both: by their key (the name of a container) where the
// lists have one, else by being equal. What stands in the same place between two pairs is paired too when nothing tells against it, so that
// an entry is changed and not exchanged.
func align(old, wish []any, key string) []match {
	a, keyed := identities(old, key)
	b, keyedToo := identities(wish, key)
	if keyed != keyedToo {
		a, _ = identities(old, "")
		b, _ = identities(wish, "")
	}
	found := longest(a, b)
	var all []match
	i, j := 0, 0
	for _, m := range append(found, match{len(a), len(b)}) {
		if n := m.i - i; n == m.j-j || !keyed && n > 0 && m.j > j {
			for k := range min(n, m.j-j) {
				all = append(all, match{i + k, j + k})
			}
		}
		if m.i < len(a) {
			all = append(all, m)
		}
		i, j = m.i+1, m.j+1
	}
	return all
}

// identities are the keys of entries, or their whole content where some have no key of their own.
func identities(list []any, key string) (ids []string, keyed bool) {
	if key != "" {
		for _, v := range list {
			m, ok := v.(map[string]any)
			if !ok || m[key] == nil {
				break
			}
			if id := encode(m[key]); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		if len(ids) == len(list) && len(list) > 0 {
			return ids, true
		}
	}
	ids = ids[:0]
	for _, v := range list {
		ids = append(ids, encode(v))
	}
	return ids, false
}

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "" // what came from JSON is JSON
	}
	return string(data)
}

// longest is a longest common subsequence.
func longest(a, b []string) []match {
	var out []match
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		out = append(out, match{head, head})
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	x, y := a[head:len(a)-tail], b[head:len(b)-tail]
	const much = 4 << 20 // cells of a table; beyond it the middle is taken as one change
	if len(x)*len(y) <= much {
		for _, m := range table(x, y) {
			out = append(out, match{m.i + head, m.j + head})
		}
	}
	for k := tail; k > 0; k-- {
		out = append(out, match{len(a) - k, len(b) - k})
	}
	return out
}

func table(x, y []string) (out []match) {
	best := make([][]int, len(x)+1)
	for i := range best {
		best[i] = make([]int, len(y)+1)
	}
	for i, a := range slices.Backward(x) {
		for j, b := range slices.Backward(y) {
			if a == b {
				best[i][j] = best[i+1][j+1] + 1
			} else {
				best[i][j] = max(best[i+1][j], best[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i] == y[j]:
			out = append(out, match{i, j})
			i, j = i+1, j+1
		case best[i+1][j] >= best[i][j+1]:
			i++
		default:
			j++
		}
	}
	return out
}

// fieldOf is the type of a field of a struct or map as JSON sees it, and the key by which its entries are told apart when it is a list.
func fieldOf(t reflect.Type, name string) (of reflect.Type, key string) {
	t = deref(t)
	if t == nil {
		return nil, ""
	}
	switch t.Kind() {
	case reflect.Map:
		return t.Elem(), ""
	case reflect.Struct:
	default:
		return nil, ""
	}
	for f := range t.Fields() {
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name && f.IsExported() && tag != "" {
			return f.Type, f.Tag.Get("patchMergeKey")
		}
		if f.Anonymous && (tag == "" || strings.Contains(opts, "inline")) {
			if of, key = fieldOf(f.Type, name); of != nil {
				return of, key
			}
		}
	}
	return nil, ""
}

func elemOf(t reflect.Type) reflect.Type {
	if t = deref(t); t != nil && t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return nil
}

func deref(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
