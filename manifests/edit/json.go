package edit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// parseJSON builds the trees of a stream of JSON values; an error means that the text is no such stream.
func parseJSON(data []byte) (roots []*node, spans []span, err error) {
	p := jsonBuilder{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	for {
		n, err := p.value()
		if errors.Is(err, io.EOF) {
			return roots, spans, nil
		}
		if err != nil {
			return nil, nil, err
		}
		roots = append(roots, n)
		spans = append(spans, span{sep: n.start, start: n.start, end: n.end})
	}
}

type jsonBuilder struct {
	data []byte
	dec  *json.Decoder
}

// next is the next token with its place.
func (p *jsonBuilder) next() (t json.Token, start, end int, err error) {
	start = int(p.dec.InputOffset())
	if t, err = p.dec.Token(); err != nil {
		return nil, 0, 0, err
	}
	for start < len(p.data) && bytes.IndexByte([]byte(" \t\n,:"), p.data[start]) >= 0 {
		start++
	}
	return t, start, int(p.dec.InputOffset()), nil
}

func (p *jsonBuilder) value() (*node, error) {
	t, start, end, err := p.next()
	if err != nil {
		return nil, err
	}
	n := &node{start: start, body: start, end: end, flow: true}
	switch v := t.(type) {
	case json.Delim:
		if v == '[' {
			n.kind = sequence
			err = p.list(n)
		} else {
			n.kind = mapping
			err = p.object(n)
		}
		n.end = int(p.dec.InputOffset())
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	case string:
		n.quote, n.value = '"', v
	default:
		n.value = string(p.data[start:end])
	}
	return n, nil
}

func (p *jsonBuilder) list(n *node) error {
	for p.dec.More() {
		v, err := p.value()
		if err != nil {
			return err
		}
		n.items = append(n.items, item{value: v})
	}
	_, err := p.dec.Token()
	return err
}

func (p *jsonBuilder) object(n *node) error {
	for p.dec.More() {
		k, err := p.value()
		if err != nil {
			return err
		}
		colon := skipBlanks(p.data, k.end)
		v, err := p.value()
		if err != nil {
			return err
		}
		n.pairs = append(n.pairs, pair{key: k, value: v, colon: colon})
	}
	_, err := p.dec.Token()
	return err
}
