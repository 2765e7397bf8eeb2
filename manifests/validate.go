package manifests

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validate runs the API server's validation. Faults below or above a value that was left out for its type say nothing new.
func (o *objectReader) validate(typed kruntime.Object, bad []string) {
	internal, err := Scheme().ConvertToVersion(typed, schema.GroupVersion{Group: o.kind.group, Version: kruntime.APIVersionInternal})
	if err != nil {
		o.failed("be converted", err)
		return
	}
	if internal == typed {
		internal = typed.DeepCopyObject()
	}
	errs := admit(internal)
	if acc, err := meta.Accessor(internal); err == nil && len(errs) == 0 {
		for _, text := range content.IsPathSegmentName(acc.GetName()) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), acc.GetName(), text))
		}
	}
	seen := map[string]bool{}
	for _, e := range errs {
		if !overlaps(e.Field, bad) && !seen[e.Error()] {
			seen[e.Error()] = true
			o.invalid(e)
		}
	}
	if len(errs) > 0 {
		return
	}
	for _, w := range advise(context.Background(), internal) { //nolint:forbidigo // the warnings take a context and do not use it
		o.serverWarning(w)
	}
}

func overlaps(path string, bad []string) bool {
	for _, b := range bad {
		if path == b || strings.HasPrefix(path, b+".") || strings.HasPrefix(path, b+"[") || strings.HasPrefix(b, path+".") || strings.HasPrefix(b, path+"[") {
			return true
		}
	}
	return false
}

func (o *objectReader) invalid(e *field.Error) {
	if e.Field == "" || e.Field == "[]" { // the size of a ConfigMap or Secret
		e.Field = "data"
	}
	line, col := o.placeOf(e.Field)
	o.error(line, col, shorten(e.Field, 300), shorten(e.ErrorBody(), 600), remedyFor(e))
}

// placeOf finds a field of a message in the tree. A few fields are named after what the server makes of them.
func (o *objectReader) placeOf(path string) (line, col int) {
	line, col, whole := o.root.find(path)
	if !whole && strings.HasPrefix(path, "spec.clusterIPs") && o.root.value("spec").get("clusterIP") != nil {
		line, col, _ = o.root.find("spec.clusterIP")
	}
	if rest, ok := strings.CutPrefix(path, "data"); ok && !whole && o.root.get("stringData") != nil { // a Secret's text is validated as its data
		if l, c, whole := o.root.find("stringData" + rest); whole || o.root.get("data") == nil {
			line, col = l, c
		}
	}
	return line, col
}

// remedyFor proposes the supported value that was probably meant.
func remedyFor(e *field.Error) string {
	if e.Type != field.ErrorTypeNotSupported {
		return ""
	}
	var names []string
	for i, part := range strings.Split(e.Detail, `"`) {
		if i%2 == 1 {
			names = append(names, part)
		}
	}
	if near := nearest(fmt.Sprint(e.BadValue), names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// serverWarning places a warning, PATH: text, in the file.
func (o *objectReader) serverWarning(w string) {
	path, text, ok := strings.Cut(w, ": ")
	if !ok || strings.ContainsAny(path, " \"") {
		path, text = "", w
	}
	line, col := o.firstLine()
	if path != "" {
		line, col = o.placeOf(path)
	}
	o.warn(line, col, path, text, "")
}
