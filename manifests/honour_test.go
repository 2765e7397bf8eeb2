package manifests

import (
	"reflect"
	"testing"

	"berth/manifests/fields"
)

// reach visits every field that the table has to know: those of the kinds that are acted on, and of what they are made of, down to
// what is not honoured. A status is not the user's.
func reach(t *testing.T, visit func(typ, field string)) {
	t.Helper()
	table, seen := &typeTable{}, map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || leafOf(typ) == noLeaf && (typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map) {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || leafOf(typ) != noLeaf || seen[typ] {
			return
		}
		seen[typ] = true
		s := table.of(typ)
		for _, name := range s.names {
			if name == "status" && s.fields["spec"] != nil || setByServer("metadata."+name) && s.table == "meta/v1.ObjectMeta" {
				continue
			}
			visit(s.table, name)
			if row, ok := fields.Of(s.table, name, "", ""); ok && row.Verdict == fields.Honoured {
				walk(s.fields[name])
			}
		}
	}
	for _, k := range servedKinds() {
		visit(k.tableName(), "")
		if row, ok := fields.Of(k.tableName(), "", "", ""); !ok || row.Verdict != fields.Honoured {
			continue
		}
		obj, err := Scheme().New(k.gvk())
		if err != nil {
			t.Fatal(err)
		}
		walk(reflect.TypeOf(obj))
	}
}

// A field of the Kubernetes types that the table does not know cannot be warned of.
func TestEveryFieldHasARow(t *testing.T) {
	missing := 0
	known := map[[2]string]bool{}
	reach(t, func(typ, field string) {
		known[[2]string{typ, field}] = true
		if _, ok := fields.Of(typ, field, "", ""); !ok {
			t.Errorf("no row in manifests/fields for %s %s", typ, field)
			missing++
		}
	})
	t.Logf("%d fields and kinds, %d without a row", len(known), missing)
}

// A row about nothing is a mistake in writing, or about a field that Kubernetes no longer has.
func TestEveryRowHasAField(t *testing.T) {
	types := map[string]*structType{}
	table := &typeTable{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || leafOf(typ) == noLeaf && (typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map) {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || leafOf(typ) != noLeaf || types[tableType(typ)] != nil {
			return
		}
		s := table.of(typ)
		types[s.table] = s
		for _, ft := range s.fields {
			walk(ft)
		}
	}
	kinds := map[string]bool{}
	for _, k := range servedKinds() {
		kinds[k.tableName()] = true
		if !k.opaque {
			obj, err := Scheme().New(k.gvk())
			if err != nil {
				t.Fatal(err)
			}
			walk(reflect.TypeOf(obj))
		}
	}
	for _, r := range fields.Rows() {
		switch s := types[r.Type]; {
		case r.Field == "" && !kinds[r.Type]:
			t.Errorf("%s: there is no such kind", r.Type)
		case r.Type == "any object":
		case r.Field != "" && (s == nil || s.fields[r.Field] == nil):
			t.Errorf("%s: there is no such field", r.Name())
		}
	}
}
