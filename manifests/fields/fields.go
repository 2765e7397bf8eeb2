// Package fields holds the table of honesty: what berth does with each field of each kind of the Kubernetes API that it knows. A field is
// named by the Go type it stands in, so that what holds for a pod's spec is said once and holds in every kind that has one.
//
// FIELDS.md is made from the table (go generate). Tests hold that no field of the Kubernetes types is missing, that every row is about a
// field that exists, and that the tests the rows name exist.
package fields

//go:generate go test -count=1 -run TestDocument -update .

import (
	"strings"
	"sync"
)

// Verdict says what becomes of a field.
type Verdict string

// The verdicts.
const (
	// Honoured fields do what Kubernetes says they do.
	Honoured Verdict = "honoured"
	// Approximated fields do something close to it; the row says what is different.
	Approximated Verdict = "approximated"
	// NotEnforced fields are taken, kept, and have no effect.
	NotEnforced Verdict = "not enforced"
	// Refused fields keep what uses them from running.
	Refused Verdict = "refused"
)

// Verdicts returns all verdicts, the best first.
func Verdicts() []Verdict { return []Verdict{Honoured, Approximated, NotEnforced, Refused} }

// Row says what becomes of one field. A verdict other than Honoured holds for everything below the field, too.
type Row struct {
	// Type is the Go type: core/v1.Container.
	Type string
	// Field is the field's name in a file; "" is the kind as a whole.
	Field string
	// Key narrows the row to one key of a map and Value to one value, of a list to items of that value; a star at the end stands for anything.
	Key, Value string
	Verdict    Verdict
	// Text says why, or what is different. Honoured rows may do without.
	Text string
	// Test names the test that fails when an honoured field is ignored: TestName or TestName/case.
	Test string
}

// Name is the field as a reader knows it: Container.resources[cpu], Volume.medium=Memory.
func (r Row) Name() string {
	name := r.Type[strings.LastIndexByte(r.Type, '.')+1:]
	if r.Field != "" {
		name += "." + r.Field
	}
	return name + r.narrow()
}

func (r Row) narrow() string {
	s := ""
	if r.Key != "" {
		s += "[" + r.Key + "]"
	}
	if r.Value != "" {
		s += "=" + r.Value
	}
	return s
}

// fits reports whether the row speaks of this key and value.
func (r Row) fits(key, value string) bool { return fits(r.Key, key) && fits(r.Value, value) }

func fits(pattern, s string) bool {
	if start, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(s, start)
	}
	return pattern == "" || pattern == s
}

// Rows are all rows, in the order of the document: kinds first, then type by type.
func Rows() []Row { return shared().rows }

// Of returns the row about a field, as written with this key and value ("" for none). The narrowest row wins. It reports false
// when the table knows nothing of the field.
func Of(typ, field, key, value string) (Row, bool) {
	rows := shared().index[place{typ, field}]
	if len(rows) == 0 {
		rows = shared().index[place{anyObject, field}]
	}
	var best Row
	found := false
	for _, r := range rows {
		if r.fits(key, value) && (!found || len(r.Key)+len(r.Value) > len(best.Key)+len(best.Value)) {
			best, found = r, true
		}
	}
	return best, found
}

// ByKey reports whether the table tells the keys of a map field apart.
func ByKey(typ, field string) bool {
	for _, r := range shared().index[place{typ, field}] {
		if r.Key != "" {
			return true
		}
	}
	return false
}

type table struct {
	rows  []Row
	index map[place][]Row
}

type place struct{ typ, field string }

var shared = sync.OnceValue(func() *table {
	t := &table{index: map[place][]Row{}}
	for _, part := range [][]Row{kinds(), metadata(), pods(), containers(), life(), security(), volumes(), configuration(), storage(), workloads(), jobs(), sets(), network(), policies(), autoscaling()} {
		t.rows = append(t.rows, part...)
	}
	for _, r := range t.rows {
		at := place{r.Type, r.Field}
		t.index[at] = append(t.index[at], r)
	}
	return t
})

// The parts of the table are written with the functions below: a type, and lines of one verdict and one sentence for any number of its
// fields, named with blanks between. A field may be narrowed: limits[hugepages-*], medium=Memory.

func of(typ string, lines ...[]Row) []Row {
	var rows []Row
	for _, l := range lines {
		for _, r := range l {
			r.Type = typ
			rows = append(rows, r)
		}
	}
	return rows
}

// shown fields are honoured, and each has the case of its own name in the test TestFields.
func shown(names string) []Row {
	rows := honoured("", names)
	for i, r := range rows {
		rows[i].Test = "TestFields/" + r.Field + r.narrow()
	}
	return rows
}

func honoured(test, names string) []Row { return line(Row{Verdict: Honoured, Test: test}, names) }

// noted fields are honoured, and there is something to know of them.
func noted(test, text, names string) []Row {
	return line(Row{Verdict: Honoured, Test: test, Text: text}, names)
}

func approximated(test, text, names string) []Row {
	return line(Row{Verdict: Approximated, Test: test, Text: text}, names)
}

func notEnforced(text, names string) []Row { return line(Row{Verdict: NotEnforced, Text: text}, names) }
func refused(text, names string) []Row     { return line(Row{Verdict: Refused, Text: text}, names) }

func line(r Row, names string) []Row {
	var rows []Row
	for name := range strings.FieldsSeq(names) {
		name, r.Value, _ = strings.Cut(name, "=")
		name, r.Key, _ = strings.Cut(strings.TrimSuffix(name, "]"), "[")
		r.Field = name
		rows = append(rows, r)
	}
	return rows
}

func join(parts ...[]Row) []Row {
	var all []Row
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
