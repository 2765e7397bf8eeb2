package api

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"berth/controller/api/openapi"
	"berth/controller/store"
	"berth/manifests/edit"
)

// apply is server-side apply: a manager says the fields it cares for. They become so, those that it said before and does not say any more go, and
// those that another manager has set otherwise are conflicts, unless it insists.
func (wr *writer) apply(w http.ResponseWriter, r *Request, it store.Item, there bool, data []byte) error {
	manager := r.Query.Get("fieldManager")
	if manager == "" {
		return apierrors.NewBadRequest("PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch")
	}
	var said map[string]any
	if err := utiljson.Unmarshal(data, &said); err != nil || said == nil {
		return apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if err := wr.fit(r, said); err != nil {
		return err
	}
	if below(said, "metadata")["managedFields"] != nil {
		return apierrors.NewBadRequest("metadata.managedFields must be nil")
	}
	typed, err := newFor(r.Resource.GVK())
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if r.Query.Get("fieldValidation") == metav1.FieldValidationStrict { // what nobody knows is lost below
		if _, _, err := wr.wished(&captured{}, r, nil, said); err != nil && apierrors.IsBadRequest(err) {
			return err
		}
	}
	config, err := edit.Canonical(r.Resource.GVK(), said)
	if err != nil {
		return invalid(r, err)
	}
	a := application{manager: manager, apiVersion: r.Resource.GVK().GroupVersion().String(), kind: reflect.TypeOf(typed), now: metav1.NewTime(wr.opts.Clock.Now())}
	if !there {
		return wr.createApplied(w, r, config, a.entry(saidBy(config, a.kind)))
	}
	seen, err := wr.seen(r, it)
	if err != nil {
		return err
	}
	wish, managed, err := a.apply(r, seen, config, it.Object.GetManagedFields())
	if err != nil {
		return err
	}
	if manager == kubectlManager && it.Object.GetAnnotations()[lastApplied] != "" { // for the day when kubectl applies by itself again
		wish = withApplied(wish, text(said)+"\n")
	}
	r.managed = managed
	return wr.commit(w, r, it, wish)
}

func (wr *writer) createApplied(w http.ResponseWriter, r *Request, config map[string]any, e metav1.ManagedFieldsEntry) error {
	r.managed = []metav1.ManagedFieldsEntry{e}
	return wr.createNamed(w, r, config)
}

// application is one apply of a manager.
type application struct {
	manager, apiVersion string
	kind                reflect.Type
	now                 metav1.Time
}

func (a *application) entry(set fieldSet) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: a.manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: a.apiVersion, Time: &a.now, FieldsType: "FieldsV1", FieldsV1: set.encode(),
	}
}

func (a *application) mine(e *metav1.ManagedFieldsEntry) bool {
	return e.Manager == a.manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// apply merges what is said into what there is, and says who has which fields then.
func (a *application) apply(r *Request, live, said map[string]any, entries []metav1.ManagedFieldsEntry) (map[string]any, []metav1.ManagedFieldsEntry, error) {
	have, want := saidBy(live, a.kind), saidBy(said, a.kind)
	before := fieldSet{}
	others := fieldSet{}
	var managed []metav1.ManagedFieldsEntry
	var conflicts []metav1.StatusCause
	var contested []string
	for i := range entries {
		e := entries[i]
		if a.mine(&e) {
			before = ownedBy(&e)
			continue
		}
		owned := ownedBy(&e)
		for path := range owned {
			v, known := want[path]
			if now, there := have[path]; !known || !there || reflect.DeepEqual(now, v) {
				others[path] = nil
				continue
			}
			who := fmt.Sprintf("conflict with %q", e.Manager)
			if e.Operation == metav1.ManagedFieldsOperationUpdate { // who applied can be asked what
				who += " using " + e.APIVersion
			}
			conflicts = append(conflicts, metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Message: who, Field: fieldPath(path)})
			contested = append(contested, path)
			delete(owned, path) // taken over, if it comes to that
		}
		if len(owned) > 0 {
			e.FieldsV1 = owned.encode()
			managed = append(managed, e)
		}
	}
	if len(conflicts) > 0 && !r.bool("force") && !a.appliedItself(live, have, contested) {
		return nil, nil, conflictError(conflicts)
	}
	wish, _ := merged(cloneJSON(live), said, openapi.Merging{Type: a.kind}).(map[string]any)
	for _, path := range gone(before, want, others) {
		without(wish, strings.Split(path, pathSep), openapi.Merging{Type: a.kind})
	}
	return wish, append(managed, a.entry(want)), nil
}

// kubectlManager is who kubectl is when the server applies.
const kubectlManager = "kubectl"

// appliedItself tells whether all that others have set otherwise is what kubectl itself applied before it left that to the server, as its annotation
// says: then it takes over what is its own.
func (a *application) appliedItself(live map[string]any, have fieldSet, contested []string) bool {
	notes, _ := below(live, "metadata")["annotations"].(map[string]any)
	note, _ := notes[lastApplied].(string)
	var said map[string]any
	if a.manager != kubectlManager || note == "" || utiljson.Unmarshal([]byte(note), &said) != nil {
		return false
	}
	last := saidBy(said, a.kind)
	return !slices.ContainsFunc(contested, func(path string) bool {
		v, ok := last[path]
		return !ok || !reflect.DeepEqual(v, have[path])
	})
}

// gone are the fields that were said and are not any more, and that nobody else has, in the order in which they can be taken out.
func gone(before, want, others fieldSet) []string {
	var out []string
	for path := range before {
		if _, still := want[path]; still || others.touches(path) || want.touches(path) {
			continue
		}
		out = append(out, path)
	}
	slices.SortFunc(out, func(x, y string) int { // an entry goes while its key still says which it is
		entryX, entryY := strings.HasSuffix(x, pathSep+"."), strings.HasSuffix(y, pathSep+".")
		if entryX != entryY {
			if entryX {
				return -1
			}
			return 1
		}
		return len(y) - len(x)
	})
	return out
}

// touches tells whether a field, or one below it, is in the set.
func (s fieldSet) touches(path string) bool {
	if _, ok := s[path]; ok {
		return true
	}
	prefix := strings.TrimSuffix(path, ".")
	if prefix == path {
		prefix += pathSep
	}
	for other := range s {
		if strings.HasPrefix(other, prefix) {
			return true
		}
	}
	return false
}

func conflictError(causes []metav1.StatusCause) error {
	slices.SortFunc(causes, func(a, b metav1.StatusCause) int { return strings.Compare(a.Field, b.Field) })
	var list []string
	for _, c := range causes {
		list = append(list, c.Message+": "+c.Field)
	}
	text := fmt.Sprintf("Apply failed with %d conflict: %s", len(causes), list[0])
	if len(causes) > 1 {
		text = fmt.Sprintf("Apply failed with %d conflicts:\n- %s", len(causes), strings.Join(list, "\n- "))
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusConflict, Reason: metav1.StatusReasonConflict, Message: text, Details: &metav1.StatusDetails{Causes: causes},
	}}
}

// fieldPath is a path as people read it: .spec.containers[name="a"].image.
func fieldPath(path string) string {
	var b strings.Builder
	for step := range strings.SplitSeq(path, pathSep) {
		switch {
		case strings.HasPrefix(step, "f:"):
			b.WriteString("." + step[2:])
		case strings.HasPrefix(step, "k:"):
			var key map[string]any
			if utiljson.Unmarshal([]byte(step[2:]), &key) == nil {
				var parts []string
				for name, v := range key {
					parts = append(parts, name+"="+text(v))
				}
				slices.Sort(parts)
				b.WriteString("[" + strings.Join(parts, ",") + "]")
			}
		case strings.HasPrefix(step, "v:"):
			b.WriteString("[=" + step[2:] + "]")
		}
	}
	return b.String()
}

// keep drops what is not there any more, and what somebody else has changed.
func (s fieldSet) keep(want, changed fieldSet) {
	for path := range s {
		_, there := want[path]
		_, taken := changed[path]
		if !there || taken && path[len(path)-1] != '.' {
			delete(s, path)
		}
	}
}

// updated says who has which fields after an update of a manager: what it changed is its own.
func updated(r *Request, t reflect.Type, now metav1.Time, seen, wish map[string]any, entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	manager := r.Query.Get("fieldManager")
	if manager == "" {
		manager, _, _ = strings.Cut(r.UserAgent(), "/")
	}
	have, want := saidBy(seen, t), saidBy(wish, t)
	changed := fieldSet{}
	for path, v := range want {
		if was, ok := have[path]; !ok || !reflect.DeepEqual(was, v) {
			changed[path] = v
		}
	}
	if len(changed) == 0 {
		return entries
	}
	var out []metav1.ManagedFieldsEntry
	mine := changed
	for i := range entries {
		e := entries[i]
		owned := ownedBy(&e)
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Subresource == r.Subresource {
			for path := range owned {
				if _, there := want[path]; there {
					mine[path] = nil
				}
			}
			continue
		}
		owned.keep(want, changed)
		if len(owned) > 0 {
			e.FieldsV1 = owned.encode()
			out = append(out, e)
		}
	}
	return append(out, metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: r.Resource.GVK().GroupVersion().String(), Time: &now,
		FieldsType: "FieldsV1", FieldsV1: mine.encode(), Subresource: r.Subresource,
	})
}
