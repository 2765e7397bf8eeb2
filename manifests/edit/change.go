package edit

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// change finds the first difference between what a document says (old, which it takes along) and what it shall say (wish), and the
// splices that make it. Nothing to do in the text is an answer too: what the file never said is not taken out of it.
type change struct {
	d       *document
	splices []splice
	done    bool
	whole   bool // write whole values, not only what differs from defaults
}

func (c *change) fail(n *node, path, format string, args ...any) error {
	return &Error{Line: c.d.text.lineOf(n.start), Field: path, Reason: fmt.Sprintf(format, args...)}
}

// editable reports why a node must not be changed.
func (c *change) editable(n *node, path string) error {
	switch {
	case n.kind == alias:
		return &Error{Line: c.d.text.lineOf(n.start), Field: path, Reason: fmt.Sprintf("the value is the alias *%s of what stands elsewhere in the file", n.value), Remedy: "change it in the file"}
	case n.shared:
		return &Error{Line: c.d.text.lineOf(n.start), Field: path, Reason: fmt.Sprintf("the value is the anchor &%s, which is used elsewhere in the file", n.anchor), Remedy: "change it in the file"}
	}
	return nil
}

// object makes the first change below a mapping.
func (c *change) object(n *node, old, wish map[string]any, t reflect.Type, path string) error {
	if err := c.editable(n, path); err != nil {
		return err
	}
	for _, name := range ordered(old) {
		if wish[name] == nil {
			return c.drop(n, old, name, join(path, name))
		}
	}
	for _, name := range ordered(wish) {
		if !same(old[name], wish[name]) {
			return c.field(n, old, wish, name, t, join(path, name))
		}
	}
	return nil
}

// drop takes a key out.
func (c *change) drop(n *node, old map[string]any, name, path string) error {
	delete(old, name)
	c.done = true
	i := n.find(name)
	if i < 0 {
		if s := n.inherits(name); s != nil {
			return c.fail(n, path, "the value comes in by the merge key << and cannot be taken out here")
		}
		return nil
	}
	return c.removeEntry(n, i)
}

// field changes the value of a key or adds it.
func (c *change) field(n *node, old, wish map[string]any, name string, t reflect.Type, path string) error {
	i := n.find(name)
	was, now := old[name], wish[name]
	if i < 0 {
		if n.inherits(name) != nil && isCollection(now) {
			return c.fail(n, path, "the value comes in by the merge key <<")
		}
		old[name] = now
		c.done = true
		if !c.whole {
			now = sparse(now, was)
		}
		return c.addPair(n, name, now)
	}
	v := n.pairs[i].value
	if err := c.editable(v, path); err != nil {
		return err
	}
	of, key := fieldOf(t, name)
	if then, done, err := c.inside(v, was, now, of, key, path); done || err != nil {
		old[name] = then
		return err
	}
	old[name] = now
	c.done = true
	if v.isNull() && !c.whole {
		now = sparse(now, was)
	}
	return c.setPair(n, i, now)
}

// inside makes the first change below a collection that stays one, and reports whether that is possible. It returns what is there then.
func (c *change) inside(v *node, was, now any, t reflect.Type, key, path string) (any, bool, error) {
	switch now := now.(type) {
	case map[string]any:
		if old, ok := was.(map[string]any); ok && v.kind == mapping {
			return old, true, c.object(v, old, now, t, path)
		}
	case []any:
		if old, ok := was.([]any); ok && v.kind == sequence && len(v.items) == len(old) && len(old) > 0 && len(now) > 0 {
			return c.list(v, old, now, t, key, path)
		}
	}
	return was, false, nil
}

// list makes the first change below a sequence. It reports false when nothing of the list stays and it must be written anew.
func (c *change) list(n *node, old, wish []any, t reflect.Type, key, path string) ([]any, bool, error) {
	matches := align(old, wish, key)
	if len(matches) == 0 {
		return old, false, nil
	}
	for _, m := range matches {
		if same(old[m.i], wish[m.j]) {
			continue
		}
		at := path + "[" + strconv.Itoa(m.i) + "]"
		v := n.items[m.i].value
		if err := c.editable(v, at); err != nil {
			return old, true, err
		}
		then, done, err := c.inside(v, old[m.i], wish[m.j], elemOf(t), "", at)
		if done || err != nil {
			old[m.i] = then
			return old, true, err
		}
		old[m.i] = wish[m.j]
		c.done = true
		return old, true, c.setItem(n, m.i, wish[m.j])
	}
	return c.resize(n, old, wish, matches)
}

// resize takes one entry out of a sequence or puts one in.
func (c *change) resize(n *node, old, wish []any, matches []match) ([]any, bool, error) {
	kept, there := map[int]bool{}, map[int]bool{}
	for _, m := range matches {
		kept[m.i], there[m.j] = true, true
	}
	c.done = true
	for i := range old {
		if !kept[i] {
			return slices.Delete(slices.Clone(old), i, i+1), true, c.removeEntry(n, i)
		}
	}
	for j := range wish {
		if !there[j] {
			return slices.Insert(slices.Clone(old), j, wish[j]), true, c.insertItem(n, j, wish[j])
		}
	}
	return old, true, nil
}

func isCollection(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// ordered are the keys of a map in the order in which they are written.
func ordered(m map[string]any) []string {
	first := []string{"apiVersion", "kind", "metadata", "name", "namespace"}
	rank := func(s string) int {
		if i := slices.Index(first, s); i >= 0 {
			return i
		}
		return len(first)
	}
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		if a < b {
			return -1
		}
		return 1
	})
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
