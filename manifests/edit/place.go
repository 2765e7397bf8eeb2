package edit

import "strings"

// How changes become splices. Comments on lines of their own directly above an entry, as far in as the entry, are the entry's own, and so
// are comments right below it that stand further in: they go where it goes. A comment behind a value stays with its line.

func (c *change) splice(start, end int, text string) {
	c.splices = append(c.splices, splice{start: start, end: end, text: text})
}

func (c *change) data() []byte { return c.d.text.data }

func (c *change) column(at int) int { return at - lineStart(c.data(), at) }

// beginsLine reports whether only white space stands before an offset on its line.
func (c *change) beginsLine(at int) bool { return isBlank(c.data()[lineStart(c.data(), at):at]) }

// top is where the lines of an entry begin: with its own comments.
func (c *change) top(at int) int {
	data := c.data()
	indent := c.column(at)
	start := lineStart(data, at)
	for start > c.d.span.start {
		above := lineStart(data, start-1)
		if commentIndent(data[above:start]) != indent {
			break
		}
		start = above
	}
	return start
}

// bottom is where the lines of an entry end that ends at an offset and stands indent far in.
func (c *change) bottom(at, indent int) int {
	data := c.data()
	end := lineEnd(data, at)
	for end < c.d.span.end {
		next := lineEnd(data, end)
		if commentIndent(data[end:next]) <= indent {
			break
		}
		end = next
	}
	return end
}

// insertLines puts whole lines, without the last line feed, at the beginning of a line.
func (c *change) insertLines(at int, lines string) {
	if at > 0 && c.data()[at-1] != '\n' {
		c.splice(at, at, "\n"+lines)
		return
	}
	c.splice(at, at, lines+"\n")
}

// setNode puts a value in the place of a node, wherever that stands.
func (c *change) setNode(n *node, v any) error {
	switch {
	case n.parent == nil:
		return c.fail(n, "", "nothing would be left of the object")
	case n.parent.kind == mapping:
		return c.setPair(n.parent, n.place, v)
	}
	return c.setItem(n.parent, n.place, v)
}

// setPair gives a key another value.
func (c *change) setPair(n *node, i int, v any) error {
	p := n.pairs[i]
	old := p.value
	switch block := !n.flow && isFull(v) && (!old.flow || old.kind == scalar); {
	case !old.written() && p.colon < 0:
		c.splice(p.key.end, p.key.end, ": "+c.inline(old, n, v))
	case !old.written() && !block:
		c.splice(p.colon+1, p.colon+1, " "+c.inline(old, n, v))
	case n.flow || !block && !isBlock(old):
		c.splice(old.start, old.end, c.anchored(old)+c.inline(old, n, v))
	case block && isBlock(old) && old.body == old.start && (c.column(old.start) > n.indent || isList(v)):
		c.splice(old.start, old.end, c.block(v, c.column(old.start), old))
	default:
		c.exchange(n, p, v, block)
	}
	return nil
}

// exchange is setPair where a value changes between standing on its key's line and below it.
func (c *change) exchange(n *node, p pair, v any, block bool) {
	data := c.data()
	old := p.value
	below := lineEnd(data, p.colon)
	if isBlock(old) {
		if old.body > old.start { // an anchor or tag
			c.splice(p.colon+1, old.props, "")
		}
		c.splice(below, c.bottom(old.end, n.indent), "")
	} else if old.written() {
		c.splice(p.colon+1, old.end, "")
		below = lineEnd(data, old.end)
	}
	if !block {
		c.splice(p.colon+1, p.colon+1, " "+c.inline(old, n, v))
		return
	}
	indent := c.below(n, v)
	c.insertLines(below, strings.Repeat(" ", indent)+c.block(v, indent, nil))
}

// setItem puts another entry in the place of one.
func (c *change) setItem(n *node, i int, v any) error {
	it := n.items[i]
	old := it.value
	switch {
	case n.flow:
		c.splice(old.start, old.end, c.anchored(old)+c.inline(old, n, v))
	case !old.written():
		c.splice(it.dash+1, it.dash+1, " "+c.item(v, n.indent+2, old, n))
	case isFull(v) && (!old.flow || old.kind == scalar):
		c.splice(old.start, old.end, c.block(v, c.column(old.start), old))
	default:
		c.splice(old.start, old.end, c.anchored(old)+c.inline(old, n, v))
	}
	return nil
}

// addPair writes a new key at the end of a mapping.
func (c *change) addPair(n *node, name string, v any) error {
	if len(n.pairs) == 0 {
		return c.fillEmpty(n, map[string]any{name: v})
	}
	if n.flow {
		c.addFlow(n, len(n.pairs), c.key(name, n)+":"+c.gap(n)+c.flow(v, n, c.entryIndent(n)))
		return nil
	}
	last := n.entries()[len(n.pairs)-1]
	pad := strings.Repeat(" ", n.indent)
	c.insertLines(c.bottom(last.end, n.indent), pad+c.key(name, n)+":"+c.after(n, v))
	return nil
}

// insertItem writes a new entry of a sequence.
func (c *change) insertItem(n *node, j int, v any) error {
	if len(n.items) == 0 {
		return c.fillEmpty(n, []any{v})
	}
	if n.flow {
		c.addFlow(n, j, c.flow(v, n, c.entryIndent(n)))
		return nil
	}
	pad := strings.Repeat(" ", n.indent)
	line := "- " + c.item(v, n.indent+2, nil, n)
	if first := n.items[0].dash; j == 0 && !c.beginsLine(first) {
		c.splice(first, first, line+"\n"+pad)
		return nil
	} else if j == 0 {
		c.insertLines(c.top(first), pad+line)
		return nil
	}
	c.insertLines(c.bottom(n.entries()[j-1].end, n.indent), pad+line)
	return nil
}

// fillEmpty writes the first entry between the brackets of an empty collection.
func (c *change) fillEmpty(n *node, v any) error {
	c.splice(n.body, n.end, c.flow(v, n, c.column(n.body)))
	return nil
}

// addFlow puts an entry into brackets, before the one of an index.
func (c *change) addFlow(n *node, j int, text string) {
	data := c.data()
	entries := n.entries()
	own := c.multiline(n)
	if j == 0 {
		at := entries[0].start
		if own {
			c.splice(at, at, text+",\n"+string(data[lineStart(data, at):at]))
		} else {
			c.splice(at, at, text+","+c.gap(n))
		}
		return
	}
	prev := entries[j-1].end
	if !own {
		c.splice(prev, prev, ","+c.gap(n)+text)
		return
	}
	start := entries[j-1].start
	pad := string(data[lineStart(data, start):start])
	if !c.beginsLine(start) {
		pad = string(data[lineStart(data, entries[0].start):entries[0].start])
	}
	comma := skipBlanks(data, prev)
	switch rest := lineEnd(data, prev); {
	case comma < len(data) && data[comma] == ',' && isRest(data, comma+1): // the rest of the line is blank or a comment
		rest = lineEnd(data, comma)
		c.splice(rest, rest, pad+text+",\n")
	case comma < len(data) && data[comma] != ',' && isRest(data, prev) && rest <= comma:
		c.splice(prev, prev, ",")
		c.splice(rest, rest, pad+text+"\n")
	default:
		c.splice(prev, prev, ",\n"+pad+text)
	}
}

// isRest reports whether nothing but white space and a comment follows on the line.
func isRest(data []byte, at int) bool {
	line := data[at:lineEnd(data, at)]
	return isBlank(line) || commentIndent(line) >= 0
}

// multiline reports whether the entries in brackets stand on lines of their own.
func (c *change) multiline(n *node) bool {
	e := n.entries()
	return len(e) > 0 && c.beginsLine(e[0].start)
}

// removeEntry takes an entry out of a collection. The last one leaves an empty collection.
func (c *change) removeEntry(n *node, i int) error {
	entries := n.entries()
	if len(entries) == 1 {
		if n.kind == mapping {
			return c.setNode(n, map[string]any{})
		}
		return c.setNode(n, []any{})
	}
	if n.flow {
		c.removeFlow(entries, i)
		return nil
	}
	e := entries[i]
	if c.beginsLine(e.start) {
		c.splice(c.top(e.start), c.bottom(e.end, n.indent), "")
		return nil
	}
	data := c.data() // the first one, behind the dash of what it stands in
	next := entries[1].start
	to := c.bottom(e.end, n.indent)
	if isBlank(data[min(to, next):next]) {
		c.splice(e.start, next, "")
		return nil
	}
	from := e.start
	for from > 0 && data[from-1] == ' ' {
		from--
	}
	c.splice(from, to-1, "")
	return nil
}

func (c *change) removeFlow(entries []span, i int) {
	data := c.data()
	e := entries[i]
	comma := skipBlanks(data, e.end)
	followed := comma < len(data) && data[comma] == ','
	end := e.end
	if followed {
		end = comma + 1
	}
	own := c.beginsLine(e.start) && isRest(data, end)
	switch {
	case own && (i+1 < len(entries) || followed):
		c.splice(c.top(e.start), lineEnd(data, end), "")
	case own:
		before := skipBlanks(data, entries[i-1].end)
		c.splice(before, before+1, "")
		c.splice(c.top(e.start), lineEnd(data, end), "")
	case i+1 < len(entries):
		c.splice(e.start, entries[i+1].start, "")
	default:
		c.splice(entries[i-1].end, e.end, "")
	}
}
