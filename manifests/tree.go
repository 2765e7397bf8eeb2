package manifests

import (
	"strconv"
)

// shape is what YAML reads a value as.
type shape string

const (
	nullShape   shape = "null"
	boolShape   shape = "boolean"
	intShape    shape = "whole number"
	floatShape  shape = "number"
	stringShape shape = "string"
	listShape   shape = "list"
	mapShape    shape = "map"
)

// node is a value of a manifest with its place in the file. Aliases share nodes, so a tree must only be walked when its size, counted
// with every use of an alias, is bounded: the builders see to it.
type node struct {
	shape     shape
	line, col int
	text      string // a string's content; for other scalars, JSON
	source    string // a scalar as it stands in the file
	fields    []entry
	index     map[string]int // of fields, when there are many
	items     []*node
	size      int // nodes below and with this one, each use of an alias counted
	depth     int
}

// entry is one key of a map with its value.
type entry struct {
	name      string
	line, col int
	value     *node
}

// manyFields is where a map lookup starts to win over looking at each key.
const manyFields = 12

// maxDepth bounds recursion. The deepest legal manifests (schemas in CustomResourceDefinitions) stay below 100.
const maxDepth = 1000

func (n *node) get(name string) *entry {
	if n == nil {
		return nil
	}
	if n.index != nil {
		if i, ok := n.index[name]; ok {
			return &n.fields[i]
		}
		return nil
	}
	for i := range n.fields {
		if n.fields[i].name == name {
			return &n.fields[i]
		}
	}
	return nil
}

// value is the value below name, nil when there is none.
func (n *node) value(name string) *node {
	if e := n.get(name); e != nil {
		return e.value
	}
	return nil
}

// str is the string below name, "" when it is absent or no string.
func (n *node) str(name string) string {
	if v := n.value(name); v != nil && v.shape == stringShape {
		return v.text
	}
	return ""
}

// set adds a field or replaces the one of that name, which it returns.
func (n *node) set(e entry) (old *entry) {
	if have := n.get(e.name); have != nil {
		was := *have
		*have = e
		return &was
	}
	n.fields = append(n.fields, e)
	if n.index != nil {
		n.index[e.name] = len(n.fields) - 1
	} else if len(n.fields) > manyFields {
		n.index = make(map[string]int, 4*manyFields)
		for i := range n.fields {
			n.index[n.fields[i].name] = i
		}
	}
	return nil
}

// measure fills in size and depth from the children, which are measured.
func (n *node) measure() {
	const enough = 1 << 40 // far above every limit, far below overflow
	n.size, n.depth = 1, 1
	add := func(c *node) {
		n.size = min(n.size+c.size, enough)
		n.depth = max(n.depth, c.depth+1)
	}
	for i := range n.fields {
		n.size++
		add(n.fields[i].value)
	}
	for _, c := range n.items {
		add(c)
	}
}

// place is where the reader should look for a value: at the value when it stands on its key's line, else at the key.
func (e *entry) place() (line, col int) {
	if e.value != nil && e.value.line == e.line && e.value.shape != mapShape && e.value.shape != listShape {
		return e.value.line, e.value.col
	}
	return e.line, e.col
}

// find follows a field path (spec.containers[0].env[1].value, data[key]) and returns the place of what it names or of its nearest
// parent that is in the file, and whether all of it was found.
func (n *node) find(path string) (line, col int, whole bool) {
	line, col = n.line, n.col
	for path != "" {
		step, isIndex, rest := nextStep(path)
		next, l, c := n.child(step, isIndex)
		if next == nil && !isIndex {
			if full, after, ok := n.dottedKey(path); ok {
				next, rest = full.value, after
				l, c = full.place()
			}
		}
		if next == nil {
			return line, col, false
		}
		n, line, col, path = next, l, c, rest
	}
	return line, col, true
}

func (n *node) child(step string, isIndex bool) (next *node, line, col int) {
	if isIndex && n.shape == listShape {
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.items) {
			return n.items[i], n.items[i].line, n.items[i].col
		}
		for _, item := range n.items { // lists that are keyed by a value, as in finalizers[x]
			if item.shape == stringShape && item.text == step {
				return item, item.line, item.col
			}
		}
		return nil, 0, 0
	}
	e := n.get(step)
	if e == nil {
		return nil, 0, 0
	}
	line, col = e.place()
	return e.value, line, col
}

// dottedKey finds a key that itself holds dots, the way some validation writes it: data.tls.crt.
func (n *node) dottedKey(path string) (*entry, string, bool) {
	for i := range n.fields {
		name := n.fields[i].name
		if len(path) >= len(name) && path[:len(name)] == name && (len(path) == len(name) || path[len(name)] == '.' || path[len(name)] == '[') {
			rest := path[len(name):]
			if rest != "" && rest[0] == '.' {
				rest = rest[1:]
			}
			return &n.fields[i], rest, true
		}
	}
	return nil, "", false
}

// nextStep cuts the first step off a field path.
func nextStep(path string) (step string, isIndex bool, rest string) {
	if path[0] == '[' {
		end := 1
		for depth := 1; end < len(path); end++ {
			if path[end] == '[' {
				depth++
			} else if path[end] == ']' {
				if depth--; depth == 0 {
					break
				}
			}
		}
		step, rest = path[1:end], path[min(end+1, len(path)):]
		if rest != "" && rest[0] == '.' {
			rest = rest[1:]
		}
		return step, true, rest
	}
	for i := range len(path) {
		switch path[i] {
		case '.':
			return path[:i], false, path[i+1:]
		case '[':
			return path[:i], false, path[i:]
		}
	}
	return path, false, ""
}
