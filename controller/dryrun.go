package controller

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
	"berth/reconcile/request"
	"berth/reconcile/service"
)

// Verbs of changes.
const (
	VerbCreate = "create"
	VerbUpdate = "update"
	VerbDelete = "delete"
	VerbHold   = "hold"   // would be deleted, but waits for consent
	VerbRefuse = "refuse" // cannot be followed
)

// PlannedChange is what `up` would do about one stated object.
type PlannedChange struct {
	Verb   string        `json:"verb"`
	Object string        `json:"object"` // KIND/NAMESPACE/NAME
	File   string        `json:"file,omitempty"`
	Fields []FieldChange `json:"fields,omitempty"` // of an update
	Reason string        `json:"reason,omitempty"`
}

// FieldChange is one field that differs. Old or New is empty when the field is not there. Values of Secrets are not shown.
type FieldChange struct {
	Path string `json:"path"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// String is one line: VERB OBJECT (FILE): FIELD: OLD → NEW, …; REASON
func (p PlannedChange) String() string {
	s := p.Verb + " " + p.Object
	if p.File != "" {
		s += " (" + p.File + ")"
	}
	var parts []string
	for _, f := range p.Fields {
		parts = append(parts, f.String())
	}
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	switch {
	case p.Reason != "" && len(parts) > 0:
		s += "; " + p.Reason
	case p.Reason != "":
		s += ": " + p.Reason
	}
	return s
}

// String is PATH: OLD → NEW.
func (f FieldChange) String() string {
	return fmt.Sprintf("%s: %s → %s", f.Path, cmp.Or(f.Old, "nothing"), cmp.Or(f.New, "nothing"))
}

// DryRun tells what a running controller would do about a snapshot.
func (c *Controller) DryRun(s manifests.Snapshot) []PlannedChange {
	return dryRun(c.store, s, c.opts.AllowPrune, c.ranges())
}

// DryRun tells what `up` would do about a snapshot, from the last good objects in a state directory. It changes nothing there.
func DryRun(stateDir string, s manifests.Snapshot, allowPrune bool) ([]PlannedChange, error) {
	st, err := store.Open(store.Options{Dir: filepath.Join(stateDir, "objects"), ReadOnly: true, New: newObject})
	if err != nil {
		return nil, fmt.Errorf("cannot read the state: %w", err)
	}
	both := service.Ranges{IPv6: netip.PrefixFrom(netip.IPv6Unspecified(), 0)} // what `up` is told is not known here: nothing is refused for its family
	return dryRun(st, s, allowPrune, both), nil
}

func dryRun(st *store.Store, s manifests.Snapshot, allowPrune bool, ranges service.Ranges) []PlannedChange {
	var changes, gone []PlannedChange
	wishes := map[reconcile.Key]bool{}
	for i := range s.Objects {
		o := &s.Objects[i]
		key := KeyOf(o.Key)
		wishes[key] = true
		if c, ok := plannedChange(st, key, o, ranges); ok {
			changes = append(changes, c)
		}
	}
	total := 0
	for _, it := range st.List("") {
		if it.Source == nil {
			continue
		}
		total++
		if wishes[it.Key] {
			continue
		}
		c := PlannedChange{Verb: VerbDelete, Object: stated(it.Key), File: it.Source.Origin.File, Reason: "no file states it any more"}
		switch {
		case covered(s.Incomplete, it.Source.Origin.File):
			continue // not known to be gone
		case it.Source.Held:
			c.Verb, c.Reason = VerbHold, "waits for `berth allow`"
		}
		gone = append(gone, c)
	}
	if !allowPrune && blows(len(gone), total) {
		for i := range gone {
			gone[i].Verb, gone[i].Reason = VerbHold, "most objects vanish at once: waits for `berth allow`"
		}
	}
	return append(consequences(st, &s, changes), gone...)
}

func plannedChange(st *store.Store, key reconcile.Key, o *manifests.Object, ranges service.Ranges) (PlannedChange, bool) {
	c := PlannedChange{Verb: VerbCreate, Object: stated(key), File: o.Origin.String()}
	old, ok := st.Get(key)
	if !ok {
		return c, true
	}
	obj, isObject := o.Object.(store.Object)
	if !isObject || old.Source != nil && old.Source.Hash == o.Hash {
		return c, false
	}
	n, errs := allocatedOf(bindingOf(modern(obj), old.Object), old.Object, ranges)
	c.Verb, c.Fields = VerbUpdate, differences(old.Object, scaledAs(n, old.Object), key.Kind == "Secret")
	if len(errs) > 0 {
		c.Verb, c.Reason = VerbRefuse, errs[0].Error()
	}
	if field := immutable(old.Object, obj); field != "" {
		c.Verb, c.Reason = VerbRefuse, field+" cannot be changed"
	}
	return c, len(c.Fields) > 0
}

// differences lists the fields that a file states otherwise than it did.
func differences(old, n store.Object, secret bool) []FieldChange {
	var out []FieldChange
	diff("", plain(old), plain(n), func(path string, a, b any) {
		f := FieldChange{Path: path, Old: show(a), New: show(b)}
		if secret && (strings.HasPrefix(path, "data") || strings.HasPrefix(path, "stringData")) {
			f.Old, f.New = "(not shown)", "(not shown)"
		}
		out = append(out, f)
	})
	return out
}

// plain is an object as its file could state it.
func plain(obj store.Object) any {
	data, err := json.Marshal(obj)
	if err != nil {
		return nil
	}
	var m map[string]any
	if json.Unmarshal(data, &m) != nil {
		return nil
	}
	delete(m, "status")
	delete(m, "apiVersion")
	delete(m, "kind")
	if meta, ok := m["metadata"].(map[string]any); ok {
		for _, k := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"} {
			delete(meta, k)
		}
		if a, ok := meta["annotations"].(map[string]any); ok {
			maps.DeleteFunc(a, func(name string, _ any) bool { return request.Beside(name) })
			if len(a) == 0 {
				delete(meta, "annotations")
			}
		}
	}
	return m
}

// diff calls report for the smallest parts that differ, in the order of their names. Lists of named things are compared by name.
func diff(path string, a, b any, report func(path string, a, b any)) {
	x, xok := a.(map[string]any)
	y, yok := b.(map[string]any)
	switch {
	case xok && yok:
		keys := maps.Clone(x)
		maps.Copy(keys, y)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			diff(strings.TrimPrefix(path+"."+k, "."), x[k], y[k], report)
		}
		return
	case isList(a) && isList(b):
		p, q := byName(a.([]any)), byName(b.([]any))
		keys := maps.Clone(p)
		maps.Copy(keys, q)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			diff(path+"["+k+"]", p[k], q[k], report)
		}
		return
	}
	if !reflect.DeepEqual(a, b) {
		report(path, a, b)
	}
}

func isList(v any) bool { _, ok := v.([]any); return ok }

// byName gives the elements of a list names: their own, or their places.
func byName(list []any) map[string]any {
	m := make(map[string]any, len(list))
	for i, v := range list {
		name := fmt.Sprint(i)
		if o, ok := v.(map[string]any); ok {
			if s, ok := o["name"].(string); ok {
				name = s
			}
		}
		m[name] = v
	}
	return m
}

func show(v any) string {
	if v == nil {
		return ""
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const longest = 120 // one line of a terminal
	if s := string(data); len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(string(data[:longest]), "") + "…"
}
