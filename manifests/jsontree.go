package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// jsonTrees parses a stream of JSON values. Anything that is not plain JSON (a comment, a trailing comma) is an error: the text may still
// be YAML. With one come the values before it, and where the last of them ends.
func jsonTrees(text []byte) (roots []*node, notes []Fault, end int, err error) {
	p := jsonParser{text: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1}
	p.dec.UseNumber()
	for {
		n, err := p.value(0)
		if errors.Is(err, io.EOF) {
			return roots, p.notes, len(text), nil
		}
		if err != nil {
			return roots, p.notes, end, err
		}
		roots, end = append(roots, n), int(p.dec.InputOffset())
	}
}

var errTooDeep = fmt.Errorf("is nested deeper than %d levels", maxDepth)

type jsonParser struct {
	text []byte
	dec  *json.Decoder
	// where position counting stands: offset at of the text is in line, which starts at start
	at, line, start int
	notes           []Fault
}

// next is the next token and its place.
func (p *jsonParser) next() (t json.Token, line, col int, err error) {
	from := int(p.dec.InputOffset())
	t, err = p.dec.Token()
	if err != nil {
		return nil, 0, 0, err
	}
	for from < len(p.text) && bytes.IndexByte([]byte(" \t\r\n,:"), p.text[from]) >= 0 {
		from++
	}
	for ; p.at < from; p.at++ {
		if p.text[p.at] == '\n' {
			p.line, p.start = p.line+1, p.at+1
		}
	}
	return t, p.line, utf8.RuneCount(p.text[p.start:from]) + 1, nil
}

func (p *jsonParser) value(depth int) (*node, error) {
	t, line, col, err := p.next()
	if err != nil {
		return nil, err
	}
	return p.valueFrom(t, line, col, depth)
}

func (p *jsonParser) valueFrom(t json.Token, line, col, depth int) (n *node, err error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	n = &node{line: line, col: col}
	switch v := t.(type) {
	case json.Delim:
		if v == '[' {
			n.shape = listShape
			err = p.list(n, depth)
		} else {
			n.shape = mapShape
			err = p.object(n, depth)
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	case nil:
		n.shape, n.text, n.source = nullShape, "null", "null"
	case bool:
		n.shape, n.text = boolShape, strconv.FormatBool(v)
		n.source = n.text
	case json.Number:
		n.source = v.String()
		n.shape, n.text = jsonNumber(n.source)
	case string:
		n.shape, n.text, n.source = stringShape, v, v
	}
	if err != nil {
		return nil, err
	}
	n.measure()
	return n, nil
}

func jsonNumber(s string) (shape, string) {
	if _, err := strconv.ParseInt(s, 10, 64); err == nil {
		return intShape, s
	}
	if _, err := strconv.ParseUint(s, 10, 64); err == nil {
		return intShape, s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return floatShape, s
	}
	return floatShape, jsonFloat(f)
}

func (p *jsonParser) list(n *node, depth int) error {
	for p.dec.More() {
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, err := p.dec.Token()
	return err
}

func (p *jsonParser) object(n *node, depth int) error {
	for p.dec.More() {
		k, line, col, err := p.next()
		if err != nil {
			return err
		}
		name, ok := k.(string)
		if !ok {
			return fmt.Errorf("line %d: a key must be a string", line)
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		if old := n.set(entry{name: name, line: line, col: col, value: v}); old != nil {
			p.notes = append(p.notes, Fault{
				Line: line, Column: col, Severity: Warning, Field: name,
				Text: fmt.Sprintf("key %q stands twice, on lines %d and %d: the last one counts", shorten(name, 60), old.line, line), Remedy: "remove one",
			})
		}
	}
	_, err := p.dec.Token()
	return err
}
