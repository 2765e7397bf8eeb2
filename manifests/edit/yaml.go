package edit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// errUnusual is the answer to YAML whose ends are not known for sure.
var errUnusual = errors.New("it is written in a form of YAML that berth does not edit")

// builder finds the ends of the nodes of one document. The parser tells only where they begin, so each construct is read once more
// between the beginnings, and must look the way it was parsed.
type builder struct {
	data    []byte // of the whole file
	lines   []int  // offsets of the lines of the document as the parser counts them
	end     int
	anchors map[*yaml.Node]*node
}

// parseYAML builds the tree of the document at a span.
func parseYAML(data []byte, at span) (root *node, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser's, on odd input
			root, err = nil, fmt.Errorf("yaml: %v", r)
		}
	}()
	start := at.start
	if bytes.HasPrefix(data[start:at.end], []byte(bom)) {
		start += len(bom)
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data[start:at.end])).Decode(&doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errUnusual
	}
	b := &builder{data: data, end: at.end, anchors: map[*yaml.Node]*node{}}
	b.countLines(start)
	return b.node(doc.Content[0], -1, start, false)
}

// countLines notes where the parser sees lines begin: it also counts the line ends of Unicode.
func (b *builder) countLines(start int) {
	b.lines = append(b.lines, start)
	for i := start; i < b.end; {
		r, size := utf8.DecodeRune(b.data[i:b.end])
		i += size
		switch r {
		case '\n', 0x85, 0x2028, 0x2029:
			b.lines = append(b.lines, i)
		}
	}
}

func (b *builder) offset(y *yaml.Node) (int, error) {
	if y.Line < 1 || y.Line > len(b.lines) {
		return 0, errUnusual
	}
	at := b.lines[y.Line-1]
	for range y.Column - 1 {
		if at >= b.end {
			return 0, errUnusual
		}
		_, size := utf8.DecodeRune(b.data[at:b.end])
		at += size
	}
	return at, nil
}

// column is that of an offset, from 0, in characters.
func (b *builder) column(at int) int {
	return utf8.RuneCount(b.data[lineStart(b.data, at):at])
}

// node builds a node. indent is the column of the block collection it stands in, after the end of the colon or dash before it.
func (b *builder) node(y *yaml.Node, indent, after int, flow bool) (*node, error) {
	start, err := b.offset(y)
	if err != nil {
		return nil, err
	}
	n := &node{start: start, body: start, flow: flow, anchor: y.Anchor}
	if y.Kind == yaml.AliasNode {
		return n, b.alias(n, y)
	}
	if y.Anchor != "" {
		b.anchors[y] = n
	}
	if y.Kind == yaml.ScalarNode && y.Value == "" && !b.startsProperty(start) && y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		n.start, n.body, n.end = after, after, after
		return n, nil
	}
	if start < after {
		return nil, errUnusual
	}
	if err := b.properties(n); err != nil {
		return nil, err
	}
	switch y.Kind {
	case yaml.ScalarNode:
		err = b.scalar(n, y, indent)
	case yaml.MappingNode:
		n.kind = mapping
		err = b.mapping(n, y)
	case yaml.SequenceNode:
		n.kind = sequence
		err = b.sequence(n, y)
	default:
		err = errUnusual
	}
	return n, err
}

func (b *builder) alias(n *node, y *yaml.Node) error {
	n.kind = alias
	n.target = b.anchors[y.Alias]
	if n.target == nil || b.at(n.start) != '*' {
		return errUnusual
	}
	n.target.shared = true
	n.end = b.word(n.start)
	n.value = string(b.data[n.start+1 : n.end])
	return nil
}

func (b *builder) at(i int) byte {
	if i < b.end {
		return b.data[i]
	}
	return 0
}

func (b *builder) startsProperty(i int) bool { c := b.at(i); return c == '&' || c == '!' }

// word is the end of an anchor, alias or tag.
func (b *builder) word(i int) int {
	for i < b.end && !strings.ContainsRune(" \t\n,[]{}", rune(b.data[i])) {
		i++
	}
	return i
}

// properties steps over an anchor and a tag.
func (b *builder) properties(n *node) error {
	end := n.start
	for b.startsProperty(n.body) {
		if b.data[n.body] == '!' && b.at(n.body+1) == '<' {
			return errUnusual
		}
		end = b.word(n.body)
		n.body = b.spaces(end)
		if b.at(n.body) == '\n' || b.at(n.body) == '#' || n.body >= b.end {
			n.body = b.blanks(end)
		}
	}
	n.props, n.end = end, end
	return nil
}

// spaces steps over spaces and tabs.
func (b *builder) spaces(i int) int {
	for i < b.end && (b.data[i] == ' ' || b.data[i] == '\t') {
		i++
	}
	return i
}

// blanks steps over white space and comments.
func (b *builder) blanks(i int) int { return skipBlanks(b.data[:b.end], i) }

func skipBlanks(data []byte, i int) int {
	for i < len(data) {
		switch c := data[i]; {
		case c == ' ', c == '\t', c == '\n':
			i++
		case c == '#' && (i == 0 || strings.IndexByte(" \t\n,[{]}", data[i-1]) >= 0):
			i = lineEnd(data, i)
		default:
			return i
		}
	}
	return i
}

func (b *builder) mapping(n *node, y *yaml.Node) error {
	if b.at(n.body) == '{' && y.Style&yaml.FlowStyle != 0 {
		n.flow = true
		return b.flowMapping(n, y)
	}
	if n.flow || y.Style&yaml.FlowStyle != 0 || len(y.Content) == 0 {
		return errUnusual
	}
	first, err := b.offset(y.Content[0])
	if err != nil {
		return err
	}
	if n.body = first; n.anchor == "" && !b.startsProperty(n.start) {
		n.start = first
	}
	n.indent = b.column(first)
	at := first
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, err := b.node(y.Content[i], n.indent, at, false)
		if err != nil {
			return err
		}
		if k.kind > sequence && k.kind != alias || k.kind == mapping || k.kind == sequence || b.column(k.start) != n.indent {
			return errUnusual
		}
		p := pair{key: k, colon: b.spaces(k.end)}
		if b.at(p.colon) != ':' {
			return errUnusual
		}
		if p.value, err = b.node(y.Content[i+1], n.indent, p.colon+1, false); err != nil {
			return err
		}
		n.pairs = append(n.pairs, p)
		at = max(p.value.end, p.colon+1)
	}
	n.end = at
	return nil
}

func (b *builder) sequence(n *node, y *yaml.Node) error {
	if b.at(n.body) == '[' && y.Style&yaml.FlowStyle != 0 {
		n.flow = true
		return b.flowSequence(n, y)
	}
	if n.flow || y.Style&yaml.FlowStyle != 0 || len(y.Content) == 0 {
		return errUnusual
	}
	at := b.blanks(n.body)
	n.body = at
	if n.anchor == "" && !b.startsProperty(n.start) {
		n.start = at
	}
	n.indent = b.column(at)
	for _, c := range y.Content {
		dash := b.blanks(at)
		if b.at(dash) != '-' || b.column(dash) != n.indent {
			return errUnusual
		}
		v, err := b.node(c, n.indent, dash+1, false)
		if err != nil {
			return err
		}
		n.items = append(n.items, item{dash: dash, value: v})
		at = max(v.end, dash+1)
	}
	n.end = at
	return nil
}

func (b *builder) flowMapping(n *node, y *yaml.Node) error {
	at := n.body + 1
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, err := b.node(y.Content[i], -1, b.blanks(at), true)
		if err != nil {
			return err
		}
		if k.kind == mapping || k.kind == sequence || k.start != b.blanks(at) {
			return errUnusual
		}
		p := pair{key: k, colon: -1}
		at = k.end
		if colon := b.blanks(k.end); b.at(colon) == ':' {
			p.colon, at = colon, colon+1
		}
		if p.value, err = b.node(y.Content[i+1], -1, at, true); err != nil {
			return err
		}
		n.pairs = append(n.pairs, p)
		at = b.comma(max(at, p.value.end))
	}
	return b.close(n, at, '}')
}

func (b *builder) flowSequence(n *node, y *yaml.Node) error {
	at := n.body + 1
	for _, c := range y.Content {
		v, err := b.node(c, -1, b.blanks(at), true)
		if err != nil {
			return err
		}
		if v.start != b.blanks(at) {
			return errUnusual
		}
		n.items = append(n.items, item{value: v})
		at = b.comma(v.end)
	}
	return b.close(n, at, ']')
}

// comma steps over the comma behind an entry, if there is one.
func (b *builder) comma(at int) int {
	if c := b.blanks(at); b.at(c) == ',' {
		return c + 1
	}
	return at
}

func (b *builder) close(n *node, at int, bracket byte) error {
	at = b.blanks(at)
	if b.at(at) != bracket {
		return errUnusual
	}
	n.end = at + 1
	return nil
}
