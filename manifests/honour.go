package manifests

import (
	"reflect"
	"strconv"
	"strings"

	"berth/manifests/fields"
)

// honourKind warns of a kind that berth does not act on, and reports whether it acts.
func (o *objectReader) honourKind() bool {
	row, ok := fields.Of(o.kind.tableName(), "", "", "")
	if ok && row.Verdict != fields.Honoured {
		line, col := o.firstLine()
		o.notHonoured(line, col, "", row)
		return false
	}
	return ok
}

// honour warns of the fields that the object states and that do not do what they say, as the table of package fields has it.
func (o *objectReader) honour(t reflect.Type) {
	h := honesty{table: o.table, note: func(e *entry, path string, row fields.Row) {
		line, col := e.place()
		o.notHonoured(line, col, path, row)
	}}
	h.walk(o.root, t, "")
}

func (o *objectReader) notHonoured(line, col int, path string, row fields.Row) {
	o.faults = append(o.faults, Fault{
		Line: line, Column: col, Severity: Warning, Field: path, Verdict: row.Verdict, Text: "is " + string(row.Verdict) + ": " + row.Text,
	})
}

// tableName is the kind as the table of fields names it: rbac/v1.Role.
func (k kind) tableName() string {
	group, _, _ := strings.Cut(k.group, ".")
	if group == "" {
		group = "core"
	}
	return group + "/" + k.version + "." + k.name
}

// tableType is a Go type as the table of fields names it: core/v1.Container.
func tableType(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	return strings.Join(parts[max(0, len(parts)-2):], "/") + "." + t.Name()
}

// honesty walks over what a file states, type by type, and notes each field that is not honoured. What stands below such a field is
// not looked at.
type honesty struct {
	table *typeTable
	note  func(e *entry, path string, row fields.Row)
}

func (h *honesty) walk(n *node, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if leafOf(t) != noLeaf {
		return
	}
	switch {
	case t.Kind() == reflect.Slice && n.shape == listShape:
		for i, item := range n.items {
			h.walk(item, t.Elem(), path+"["+strconv.Itoa(i)+"]")
		}
	case t.Kind() == reflect.Map && n.shape == mapShape:
		for i := range n.fields {
			h.walk(n.fields[i].value, t.Elem(), path+"["+n.fields[i].name+"]")
		}
	case t.Kind() == reflect.Struct && n.shape == mapShape:
		s := h.table.of(t)
		for i := range n.fields {
			e := &n.fields[i]
			below := join(path, e.name)
			if ft, ok := s.fields[e.name]; ok && !e.value.saysNothing() && !setByServer(below) {
				h.field(e, s.table, ft, below)
			}
		}
	}
}

// field judges one field of a struct, and what is below it.
func (h *honesty) field(e *entry, of string, t reflect.Type, path string) {
	if e.value.shape == mapShape && fields.ByKey(of, e.name) {
		for i := range e.value.fields {
			below := &e.value.fields[i]
			row, ok := fields.Of(of, e.name, below.name, below.value.text)
			h.judge(below, path+"["+below.name+"]", row, ok)
		}
		return
	}
	if row, ok := fields.Of(of, e.name, "", e.value.text); h.judge(e, path, row, ok) {
		h.walk(e.value, t, path)
	}
}

// judge notes what is not honoured, and reports whether the field is.
func (h *honesty) judge(e *entry, path string, row fields.Row, known bool) bool {
	if known && row.Verdict != fields.Honoured {
		h.note(e, path, row)
		return false
	}
	return known
}

// saysNothing reports whether a value is the same as none.
func (n *node) saysNothing() bool {
	switch n.shape {
	case nullShape:
		return true
	case stringShape:
		return n.text == ""
	case mapShape:
		return len(n.fields) == 0
	case listShape:
		return len(n.items) == 0
	case boolShape, intShape, floatShape:
	}
	return false
}
