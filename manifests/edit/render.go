package edit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"berth/manifests"
)

// style is how a document is written.
type style struct {
	json    bool
	compact bool // JSON without spaces
	step    int  // columns a mapping within a mapping stands further in
	dash    int  // columns a sequence within a mapping stands further in
}

// styleOf looks at the first places that show it.
func styleOf(root *node, data []byte, isJSON bool) style {
	st := style{json: isJSON, step: 0, dash: -1}
	var look func(n *node)
	look = func(n *node) {
		for _, p := range n.pairs {
			if n.flow && p.colon >= 0 && st.json {
				st.compact = st.compact || p.colon+1 < len(data) && data[p.colon+1] != ' '
			}
			switch v := p.value; {
			case n.flow || v.flow:
			case v.kind == mapping && st.step == 0 && len(v.pairs) > 0:
				st.step = v.indent - n.indent
			case v.kind == sequence && st.dash < 0:
				st.dash = v.indent - n.indent
			}
			look(p.value)
		}
		for _, it := range n.items {
			look(it.value)
		}
	}
	look(root)
	if st.step <= 0 {
		st.step = 2
	}
	st.dash = max(st.dash, 0)
	return st
}

// isFull reports a collection with something in it.
func isFull(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) > 0
	case []any:
		return len(v) > 0
	}
	return false
}

func isList(v any) bool { _, ok := v.([]any); return ok }

// isBlock reports a collection that is not in brackets.
func isBlock(n *node) bool { return (n.kind == mapping || n.kind == sequence) && !n.flow }

// anchored is the anchor that an exchanged value keeps.
func (c *change) anchored(n *node) string {
	if n.anchor == "" {
		return ""
	}
	return "&" + n.anchor + " "
}

// inline is a value on the line of its key or dash, in the place of old.
func (c *change) inline(old, in *node, v any) string {
	if _, ok := v.(string); !ok && isCollection(v) {
		indent := c.column(lineStart(c.data(), old.start)) + leading(c.data(), old.start)
		return c.flow(v, in, indent)
	}
	quote := byte(0)
	if old.kind == scalar && old.written() {
		quote = old.quote
	}
	if c.d.style.json {
		quote = '"'
	}
	oneLine := in.flow || !isBlank(c.data()[old.end:lineEnd(c.data(), old.end)]) // a comment behind it
	return renderScalar(v, quote, oneLine, in.indent, c.d.style.step)
}

func leading(data []byte, at int) int {
	line := data[lineStart(data, at):]
	return len(line) - len(bytes.TrimLeft(line, " "))
}

// after is a value behind the colon of a new key.
func (c *change) after(n *node, v any) string {
	if isFull(v) {
		indent := c.below(n, v)
		return "\n" + strings.Repeat(" ", indent) + c.block(v, indent, nil)
	}
	return " " + renderScalar(v, c.siblings(n), false, n.indent, c.d.style.step)
}

// below is the column of a collection below a key of n.
func (c *change) below(n *node, v any) int {
	if isList(v) {
		return n.indent + c.d.style.dash
	}
	return n.indent + c.d.style.step
}

// siblings is the quote that all strings of a mapping have, 0 when they have none or various.
func (c *change) siblings(n *node) byte {
	quote, any := byte(0), false
	for _, p := range n.pairs {
		v := p.value
		if v.kind != scalar || !v.written() || v.quote == 0 && !manifests.ReadsAsString(v.value) {
			continue
		}
		if any && v.quote != quote {
			return 0
		}
		quote, any = v.quote, true
	}
	if quote == '"' || quote == '\'' {
		return quote
	}
	return 0
}

// item is an entry behind its dash; indent is the column where it begins.
func (c *change) item(v any, indent int, _, n *node) string {
	if isFull(v) {
		return c.block(v, indent, nil)
	}
	quote := byte(0)
	for i, it := range n.items {
		if it.value.kind != scalar || i > 0 && it.value.quote != quote {
			quote = 0
			break
		}
		quote = it.value.quote
	}
	return renderScalar(v, quote, false, n.indent, c.d.style.step)
}

// block is a collection in block style whose first line stands at indent already.
func (c *change) block(v any, indent int, _ *node) string { return renderBlock(v, indent, c.d.style) }

func renderBlock(v any, indent int, st style) string {
	pad := strings.Repeat(" ", indent)
	var lines []string
	switch v := v.(type) {
	case map[string]any:
		for _, name := range ordered(v) {
			line := renderKey(name) + ":"
			switch value := v[name]; {
			case isFull(value) && isList(value):
				line += "\n" + pad + strings.Repeat(" ", st.dash) + renderBlock(value, indent+st.dash, st)
			case isFull(value):
				line += "\n" + pad + strings.Repeat(" ", st.step) + renderBlock(value, indent+st.step, st)
			default:
				line += " " + renderScalar(value, 0, false, indent, st.step)
			}
			lines = append(lines, line)
		}
	case []any:
		for _, value := range v {
			if isFull(value) {
				lines = append(lines, "- "+renderBlock(value, indent+2, st))
			} else {
				lines = append(lines, "- "+renderScalar(value, 0, false, indent, st.step))
			}
		}
	}
	return strings.Join(lines, "\n"+pad)
}

// key is a key as its siblings are written.
func (c *change) key(name string, n *node) string {
	if c.d.style.json || len(n.pairs) > 0 && n.pairs[0].key.quote == '"' {
		return double(name)
	}
	return renderKey(name)
}

func renderKey(name string) string { return renderScalar(name, 0, true, 0, 0) }

// gap is what stands behind commas and colons in brackets.
func (c *change) gap(*node) string {
	if c.d.style.compact {
		return ""
	}
	return " "
}

// entryIndent is the column of the entries in brackets.
func (c *change) entryIndent(n *node) int {
	if e := n.entries(); len(e) > 0 {
		return leading(c.data(), e[0].start)
	}
	return leading(c.data(), n.start)
}

// flow is a value in brackets, as n is written in which it stands. indent is that of the line.
func (c *change) flow(v any, n *node, indent int) string {
	f := flowWriter{style: c.d.style}
	at := n
	for at != nil && len(at.entries()) == 0 {
		at = at.parent
	}
	if at != nil && at.flow {
		f.lines = c.multiline(at)
		if f.lines {
			f.step = max(leading(c.data(), at.entries()[0].start)-leading(c.data(), at.start), 1)
			last := at.entries()[len(at.entries())-1]
			comma := skipBlanks(c.data(), last.end)
			f.trailing = comma < len(c.data()) && c.data()[comma] == ','
		}
		f.quote = c.siblings(at)
		f.quoteKeys = len(at.pairs) > 0 && at.pairs[0].key.quote == '"'
	}
	f.quoteKeys = f.quoteKeys || f.style.json
	if f.style.json {
		f.quote = '"'
	}
	return f.value(v, indent)
}

type flowWriter struct {
	style     style
	lines     bool // each entry on a line of its own
	trailing  bool // a comma after the last entry
	step      int
	quote     byte
	quoteKeys bool
}

func (f *flowWriter) value(v any, indent int) string {
	var entries []string
	open, closing := "{", "}"
	gap := " "
	if f.style.compact {
		gap = ""
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range ordered(v) {
			key := double(name)
			if !f.quoteKeys {
				key = renderKey(name)
			}
			entries = append(entries, key+":"+gap+f.value(v[name], indent+f.step))
		}
	case []any:
		open, closing = "[", "]"
		for _, value := range v {
			entries = append(entries, f.value(value, indent+f.step))
		}
	default:
		return renderScalar(v, f.quote, true, indent, 0)
	}
	if len(entries) == 0 || !f.lines {
		return open + strings.Join(entries, ","+gap) + closing
	}
	pad := "\n" + strings.Repeat(" ", indent+f.step)
	out := open + pad + strings.Join(entries, ","+pad)
	if f.trailing {
		out += ","
	}
	return out + "\n" + strings.Repeat(" ", indent) + closing
}

// renderScalar writes a scalar, or an empty collection. quote is how it should be quoted if it is a string, 0 for only where it must;
// indent is the column of the block collection it stands in.
func renderScalar(v any, quote byte, flow bool, indent, step int) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "{}"
	case []any:
		return "[]"
	case string:
		return renderString(v, quote, flow, indent, step)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

func renderString(s string, quote byte, flow bool, indent, step int) string {
	if !flow && strings.Contains(s, "\n") && quote != '"' && quote != '\'' && canBeLiteral(s) {
		return literal(s, max(indent, 0)+max(step, 1))
	}
	switch {
	case quote == '\'' && isPrintable(s):
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	case quote == '"' || !isPlain(s, flow):
		return double(s)
	}
	return s
}

func isPrintable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// sexagesimal is what other readers of YAML 1.1 take for a number.
var sexagesimal = regexp.MustCompile(`^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)

// isPlain reports whether a string may stand without quotes; in doubt it may not.
func isPlain(s string, flow bool) bool {
	if s == "" || !isPrintable(s) || !manifests.ReadsAsString(s) || sexagesimal.MatchString(s) || s[len(s)-1] == ':' || s[len(s)-1] == ' ' {
		return false
	}
	if s[0] == '-' && (len(s) == 1 || s[1] == ' ' || strings.HasPrefix(s, "---")) || strings.IndexByte("~!&*?|>%@`'\"#,[]{}= :<", s[0]) >= 0 || strings.HasPrefix(s, "...") {
		return false
	}
	return !strings.Contains(s, ": ") && !strings.Contains(s, " #") && (!flow || !strings.ContainsAny(s, ",[]{}:?"))
}

// canBeLiteral reports whether a text can stand as a literal block.
func canBeLiteral(s string) bool {
	if s[0] == ' ' || s[0] == '\n' || s[0] == '\t' {
		return false // would need a word about its indentation
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return r != '\n' && r != '\t' && !unicode.IsPrint(r) || r == unicode.ReplacementChar
	}) < 0
}

// literal is a text as a literal block whose lines begin at a column.
func literal(s string, indent int) string {
	header := "|"
	body, found := strings.CutSuffix(s, "\n")
	switch {
	case !found:
		header = "|-"
	case strings.HasSuffix(body, "\n"):
		header = "|+"
	}
	pad := strings.Repeat(" ", indent)
	lines := strings.Split(body, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = pad + line
		}
	}
	return header + "\n" + strings.Join(lines, "\n")
}

// double is a string in double quotes, as JSON and YAML both read it.
func double(s string) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // a string never fails
	}
	var b strings.Builder
	for _, r := range strings.TrimSuffix(out.String(), "\n") {
		if r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
