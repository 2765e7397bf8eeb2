package edit

import (
	"bytes"
	"errors"
	"fmt"

	"berth/manifests"
)

// Remove returns the file without an object: its document goes with its separator and its own comments, or its item of a List. It returns
// nil when nothing is left to be said in the file; what is left may be comments only. It returns ErrNotThere when the file does not state
// the object as it was seen (hash; "" for whatever it states now).
func Remove(file string, data []byte, key manifests.Key, hash string) ([]byte, error) {
	before := manifests.Decode(file, data)
	there, ok := stated(before, key)
	if !ok || hash != "" && there.Hash != hash {
		return nil, fmt.Errorf("cannot remove %s from %s: %w", key, file, ErrNotThere)
	}
	d, err := open(data, there)
	if err != nil {
		return nil, err
	}
	c := change{d: d}
	if err := c.removeObject(); err != nil {
		return nil, err
	}
	out := d.text.apply(c.splices)
	after := manifests.Decode(file, out)
	if len(after.Objects) == 0 && len(before.Objects) == 1 && saysNothing(out) {
		return nil, nil
	}
	if _, again := stated(after, key); again {
		return nil, &Error{Line: there.Origin.Line, Reason: fmt.Sprintf("%s stands twice in the file", key), Remedy: "remove one of them"}
	}
	if err := verify(before, after, key, nil); err != nil {
		return nil, err
	}
	return out, nil
}

// saysNothing reports a text without comments and documents.
func saysNothing(data []byte) bool {
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte(bom))) {
		if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.Equal(line, []byte("---")) && !bytes.Equal(line, []byte("...")) {
			return false
		}
	}
	return true
}

func (c *change) removeObject() error {
	n := c.d.root
	for !c.d.alone && n.parent != nil && n.parent.kind == sequence && len(n.parent.items) == 1 && n.parent.parent != nil { // a List goes with its last item
		if n = n.parent.parent; n.parent == nil {
			c.d.alone = true
		}
	}
	switch {
	case c.d.alone && c.d.style.json:
		c.removeValue(n)
	case c.d.alone:
		c.removeDocument(n)
	case n.parent != nil && n.parent.kind == sequence:
		return c.removeEntry(n.parent, n.place)
	default:
		return errors.Join(ErrNotThere)
	}
	return nil
}

// removeValue takes a value out of a JSON stream.
func (c *change) removeValue(n *node) {
	end := n.end
	for end < len(c.data()) && bytes.IndexByte([]byte(" \t\n"), c.data()[end]) >= 0 {
		end++
	}
	c.splice(n.start, end, "")
}

// removeDocument takes a document out. Of a first one the comments at the head of the file stay that a blank line sets apart from the
// object: they are the file's.
func (c *change) removeDocument(n *node) {
	data, at := c.data(), c.d.span
	if at.sep < at.start {
		c.splice(at.sep, at.end, "")
		return
	}
	from := lineStart(data, firstKey(n))
	for from > at.start && commentIndent(data[lineStart(data, from-1):from]) >= 0 {
		from = lineStart(data, from-1)
	}
	if isBlank(data[at.start:from]) {
		from = at.start
	}
	to := at.end
	if bytes.HasPrefix(data[to:], []byte("---")) && from == at.start {
		to = lineEnd(data, to)
	}
	c.splice(from, to, "")
}
