package edit

import (
	"slices"

	"berth/manifests"
)

// kind is what a node is in the text.
type kind int

const (
	scalar kind = iota
	mapping
	sequence
	alias
)

// node is a value as it stands in the text, with all its ends.
type node struct {
	kind kind
	// start and end enclose it with its anchor and tag; body is where it begins without them. All three are equal for a value that is
	// not written, as after a lone `key:`.
	start, body, end int
	props            int  // where its anchor and tag end
	flow             bool // in brackets, or within brackets
	quote            byte // of a scalar: ' " | > or 0 for none
	value            string
	anchor           string // its name
	shared           bool   // an alias elsewhere uses it
	indent           int    // column, from 0, of the keys or dashes of a block collection
	pairs            []pair
	items            []item
	target           *node // of an alias
	parent           *node
	place            int // among the parent's pairs or items
}

type pair struct {
	key, value *node
	colon      int // where the colon stands; -1 for none
}

// item is an entry of a sequence; dash is where its dash stands in block style.
type item struct {
	dash  int
	value *node
}

const mergeKey = "<<"

func (p pair) merges() bool {
	return p.key.quote == 0 && p.key.value == mergeKey && p.key.kind == scalar
}

// find is the index of the pair that counts for a key: the last one. -1 when there is none.
func (n *node) find(name string) int {
	for i, p := range slices.Backward(n.pairs) {
		if !p.merges() && p.key.kind == scalar && p.key.name() == name {
			return i
		}
	}
	return -1
}

// name is what a key is read as.
func (n *node) name() string {
	if n.quote != 0 || n.body > n.start {
		return n.value
	}
	return manifests.ReadsAsKey(n.value)
}

// inherits is the source of a key that only a merge key brings in; nil when none does.
func (n *node) inherits(name string) *node {
	for i := range n.pairs {
		if !n.pairs[i].merges() {
			continue
		}
		sources := []*node{n.pairs[i].value}
		if sources[0].kind == sequence {
			sources = sources[:0]
			for _, it := range n.pairs[i].value.items {
				sources = append(sources, it.value)
			}
		}
		for _, s := range sources {
			if s.kind == alias {
				s = s.target
			}
			if s != nil && s.kind == mapping && (s.find(name) >= 0 || s.inherits(name) != nil) {
				return s
			}
		}
	}
	return nil
}

// str is the text of the scalar below a key, "" when there is none.
func (n *node) str(name string) string {
	if v := n.get(name); v != nil && v.kind == scalar {
		return v.value
	}
	return ""
}

// get is the value below a key, aliases and merge keys followed; nil when there is none.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	n = n.real()
	if n == nil {
		return nil
	}
	if i := n.find(name); i >= 0 {
		return n.pairs[i].value.real()
	}
	if s := n.inherits(name); s != nil {
		return s.get(name)
	}
	return nil
}

// real is the node itself, or what an alias stands for.
func (n *node) real() *node {
	if n.kind == alias {
		return n.target
	}
	return n
}

// isNull reports a value that is not written or says null.
func (n *node) isNull() bool {
	if n.kind != scalar || n.quote != 0 {
		return false
	}
	switch n.value {
	case "", "~", "null", "Null", "NULL":
		return true
	}
	return false
}

// written reports whether the value has any text.
func (n *node) written() bool { return n.end > n.start }

// link tells every node below where it stands.
func (n *node) link() {
	for i := range n.pairs {
		v := n.pairs[i].value
		v.parent, v.place = n, i
		v.link()
	}
	for i := range n.items {
		v := n.items[i].value
		v.parent, v.place = n, i
		v.link()
	}
}

// entries are the places of what a collection holds: a key with its value, or an item.
func (n *node) entries() []span {
	out := make([]span, 0, len(n.pairs)+len(n.items))
	for _, p := range n.pairs {
		out = append(out, span{start: p.key.start, end: max(p.key.end, p.colon+1, p.value.end)})
	}
	for _, it := range n.items {
		s := span{start: it.value.start, end: it.value.end}
		if !n.flow {
			s = span{start: it.dash, end: max(it.dash+1, it.value.end)}
		}
		out = append(out, s)
	}
	return out
}
