package manifests

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// typedReader compares a tree with a Go type: everything that does not fit becomes a fault with its exact place, everything else is
// written out as JSON that decodes without error. So one pass finds all faults, and what is left can still be validated.
type typedReader struct {
	table  *typeTable
	root   reflect.Type
	out    []byte
	faults []Fault
	// line and col are where the value that is read next is to be shown: at its key when it begins on a later line
	line, col int
	bad       []string // field paths of values that were left out because of their type
	ignore    func(path string) bool
}

// read writes the JSON of n, as the type t, and reports whether it wrote anything.
func (r *typedReader) read(n *node, t reflect.Type, path string) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.shape == nullShape {
		r.out = append(r.out, "null"...)
		return true
	}
	if l := leafOf(t); l != noLeaf {
		return r.readLeaf(n, l, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return r.readStruct(n, t, path)
	case reflect.Map:
		return r.readMap(n, t, path)
	case reflect.Slice:
		return r.readList(n, t, path)
	case reflect.String:
		return r.readString(n, path)
	case reflect.Bool:
		return r.readBool(n, path)
	case reflect.Float32, reflect.Float64:
		if n.shape != intShape && n.shape != floatShape {
			return r.wrong(n, path, "a number", "")
		}
		r.out = append(r.out, n.text...)
		return true
	default:
		return r.readInt(n, t, path)
	}
}

func (r *typedReader) fault(line, col int, path, text, remedy string) {
	r.faults = append(r.faults, Fault{Line: line, Column: col, Severity: Error, Field: path, Text: text, Remedy: remedy})
}

// wrong notes a value of the wrong type.
func (r *typedReader) wrong(n *node, path, want, remedy string) bool {
	is := n.describe()
	if r.root == reflect.TypeFor[corev1.Secret]() && (strings.HasPrefix(path, "data") || strings.HasPrefix(path, "stringData")) {
		is = "this " + string(n.shape) // faults are logged and shown
		remedy, _, _ = strings.Cut(remedy, ": ")
	}
	r.fault(r.line, r.col, path, "must be "+want+", not "+is, remedy)
	r.bad = append(r.bad, path)
	return false
}

// describe says what a value is, with the value itself where that helps.
func (n *node) describe() string {
	switch n.shape {
	case mapShape, listShape:
		return "a " + string(n.shape)
	case nullShape:
		return "null"
	case stringShape:
		return "the string " + strconv.Quote(shorten(n.text, 40))
	case boolShape:
		if n.source != n.text {
			return fmt.Sprintf("%s, which YAML reads as the boolean %s", shorten(n.source, 40), n.text)
		}
	case intShape, floatShape:
		if n.source != n.text {
			return fmt.Sprintf("%s, which YAML reads as the number %s", shorten(n.source, 40), n.text)
		}
	}
	return "the " + string(n.shape) + " " + shorten(n.source, 40)
}

func (r *typedReader) readStruct(n *node, t reflect.Type, path string) bool {
	if n.shape != mapShape {
		return r.wrong(n, path, "a map", "")
	}
	s := r.table.of(t)
	r.out = append(r.out, '{')
	first := true
	for i := range n.fields {
		e := &n.fields[i]
		below := join(path, e.name)
		ft, ok := s.fields[e.name]
		if !ok {
			r.unknown(e, s, path)
			continue
		}
		mark, was := len(r.out), first
		first = r.readField(e, ft, below, first)
		if r.ignore != nil && r.ignore(below) {
			r.out, first = r.out[:mark], was // it must fit, and says nothing
		}
	}
	r.out = append(r.out, '}')
	return true
}

// readField writes "name":value, or nothing when the value does not fit.
func (r *typedReader) readField(e *entry, t reflect.Type, path string, first bool) bool {
	mark := len(r.out)
	if !first {
		r.out = append(r.out, ',')
	}
	r.out = appendJSONString(r.out, e.name)
	r.out = append(r.out, ':')
	r.line, r.col = e.place()
	if !r.read(e.value, t, path) {
		r.out = r.out[:mark]
		return first
	}
	return false
}

func (r *typedReader) unknown(e *entry, s *structType, path string) {
	full := join(path, e.name)
	remedy := ""
	if place := r.table.elsewhere(r.root, full, e.name); place != "" {
		remedy = "it belongs to " + place
	} else if near := nearest(e.name, s.names); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	if near := nearest(e.name, s.names); near != "" && strings.EqualFold(near, e.name) {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	r.fault(e.line, e.col, full, fmt.Sprintf("unknown field %q", shorten(e.name, 80)), remedy)
}

func (r *typedReader) readMap(n *node, t reflect.Type, path string) bool {
	if n.shape != mapShape {
		return r.wrong(n, path, "a map", "")
	}
	r.out = append(r.out, '{')
	first := true
	for i := range n.fields {
		e := &n.fields[i]
		first = r.readField(e, t.Elem(), path+"["+e.name+"]", first)
	}
	r.out = append(r.out, '}')
	return true
}

func (r *typedReader) readList(n *node, t reflect.Type, path string) bool {
	if n.shape != listShape {
		remedy := ""
		if n.shape == mapShape {
			remedy = "begin each entry with a dash"
		}
		return r.wrong(n, path, "a list", remedy)
	}
	r.out = append(r.out, '[')
	for i, item := range n.items {
		if i > 0 {
			r.out = append(r.out, ',')
		}
		r.line, r.col = item.line, item.col
		if mark := len(r.out); !r.read(item, t.Elem(), path+"["+strconv.Itoa(i)+"]") {
			r.out = append(r.out[:mark], "null"...) // keeps the indexes of the others
		}
	}
	r.out = append(r.out, ']')
	return true
}

func (r *typedReader) readString(n *node, path string) bool {
	if n.shape != stringShape {
		remedy := ""
		if n.shape != mapShape && n.shape != listShape {
			remedy = "put it in quotes: " + strconv.Quote(shorten(n.source, 40))
		}
		return r.wrong(n, path, "a string", remedy)
	}
	r.out = appendJSONString(r.out, n.text)
	return true
}

func (r *typedReader) readBool(n *node, path string) bool {
	if n.shape != boolShape {
		remedy := "write true or false"
		if n.shape == stringShape && (n.text == "true" || n.text == "false") {
			remedy = "take the quotes away"
		}
		return r.wrong(n, path, "true or false", remedy)
	}
	r.out = append(r.out, n.text...)
	return true
}

func (r *typedReader) readInt(n *node, t reflect.Type, path string) bool {
	text, ok := wholeNumber(n)
	if !ok {
		remedy := ""
		if n.shape == stringShape {
			if sh, _ := plainScalar(n.text); sh == intShape {
				remedy = "take the quotes away"
			}
		}
		return r.wrong(n, path, "a whole number", remedy)
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || reflect.Zero(t).CanInt() && reflect.Zero(t).OverflowInt(v) {
		return r.wrong(n, path, fmt.Sprintf("a whole number of %d bits", t.Bits()), "")
	}
	r.out = append(r.out, text...)
	return true
}

// wholeNumber is the decimal form of a number without a fraction: 3, 0x3, 3.0 and 3e0 are all three.
func wholeNumber(n *node) (string, bool) {
	switch n.shape {
	case intShape:
		return n.text, true
	case floatShape:
		f, err := strconv.ParseFloat(n.text, 64)
		if err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return strconv.FormatInt(int64(f), 10), true
		}
	case nullShape, boolShape, stringShape, listShape, mapShape:
	}
	return "", false
}

func (r *typedReader) readLeaf(n *node, l leaf, path string) bool {
	switch l {
	case anyLeaf:
		r.out = appendAny(r.out, n)
		return true
	case intOrStringLeaf:
		return r.readIntOrString(n, path)
	case quantityLeaf:
		return r.readQuantity(n, path)
	case noLeaf, timeLeaf, microTimeLeaf, durationLeaf, bytesLeaf: // strings, see below
	}
	if n.shape != stringShape {
		return r.readString(n, path)
	}
	var err error
	switch l {
	case bytesLeaf:
		if _, err = base64.StdEncoding.DecodeString(n.text); err != nil {
			return r.wrong(n, path, "base64", "encode the value (base64 -w0), or give it as plain text in stringData")
		}
	case timeLeaf:
		if _, err = time.Parse(time.RFC3339, n.text); err != nil && n.text != "" {
			return r.wrong(n, path, "a time like 2006-01-02T15:04:05Z", "")
		}
	case microTimeLeaf:
		if _, err = time.Parse("2006-01-02T15:04:05.000000Z07:00", n.text); err != nil {
			return r.wrong(n, path, "a time like 2006-01-02T15:04:05.000000Z", "")
		}
	case durationLeaf:
		if _, err = time.ParseDuration(n.text); err != nil {
			return r.wrong(n, path, "a duration like 1m30s", "")
		}
	case noLeaf, quantityLeaf, intOrStringLeaf, anyLeaf: // any string, or read above
	}
	if l == timeLeaf && n.text == "" {
		r.out = append(r.out, "null"...)
		return true
	}
	r.out = appendJSONString(r.out, n.text)
	return true
}

func (r *typedReader) readIntOrString(n *node, path string) bool {
	if n.shape == stringShape {
		r.out = appendJSONString(r.out, n.text)
		return true
	}
	text, ok := wholeNumber(n)
	if _, err := strconv.ParseInt(text, 10, 32); !ok || err != nil {
		return r.wrong(n, path, "a whole number or a string", "")
	}
	r.out = append(r.out, text...)
	return true
}

func (r *typedReader) readQuantity(n *node, path string) bool {
	text := n.text
	switch n.shape {
	case stringShape, intShape, floatShape:
	case nullShape, boolShape, listShape, mapShape:
		return r.wrong(n, path, "a quantity like 500m, 2 or 128Mi", "")
	}
	if n.shape == floatShape {
		f, _ := strconv.ParseFloat(text, 64)
		text = jsonFloat(f)
	}
	if _, err := resource.ParseQuantity(strings.TrimSpace(text)); err != nil || text != strings.TrimSpace(text) {
		return r.wrong(n, path, "a quantity like 500m, 2 or 128Mi", quantityRemedy(text))
	}
	r.out = appendJSONString(r.out, text)
	return true
}

// quantityRemedy knows what people write instead of the suffixes that exist.
func quantityRemedy(text string) string {
	text = strings.TrimSpace(text)
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	if digits == "" || digits == text {
		return ""
	}
	suffixes := map[string]string{
		"kb": "k", "mb": "M", "gb": "G", "tb": "T", "kib": "Ki", "mib": "Mi", "gib": "Gi", "tib": "Ti", "ki": "Ki", "mi": "Mi", "gi": "Gi",
		"ti": "Ti", "g": "G", "k": "k", "t": "T", "b": "",
	}
	if s, ok := suffixes[strings.ToLower(strings.TrimSpace(text[len(digits):]))]; ok {
		if _, err := resource.ParseQuantity(digits + s); err == nil {
			return fmt.Sprintf("did you mean %q?", digits+s)
		}
	}
	return ""
}

// appendAny writes a value of any type.
func appendAny(out []byte, n *node) []byte {
	switch n.shape {
	case mapShape:
		out = append(out, '{')
		for i := range n.fields {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendJSONString(out, n.fields[i].name)
			out = append(out, ':')
			out = appendAny(out, n.fields[i].value)
		}
		return append(out, '}')
	case listShape:
		out = append(out, '[')
		for i, item := range n.items {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendAny(out, item)
		}
		return append(out, ']')
	case stringShape:
		return appendJSONString(out, n.text)
	case nullShape, boolShape, intShape, floatShape:
	}
	return append(out, n.text...)
}

func appendJSONString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(s) // a string never fails
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
