package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// objectReader reads one object of a file.
type objectReader struct {
	*fileReader
	root    *node
	kind    kind
	name    string // KIND/NAME
	key     Key
	faults  []Fault
	blocked bool
}

// readObject reads an object of the given version and kind. prefix is the field path of the object in its file, for items of a List.
func (r *fileReader) readObject(root *node, prefix, apiVersion, kindName string) {
	o := &objectReader{fileReader: r, root: root, name: kindName}
	if n := root.value("metadata").str("name"); n != "" {
		o.name += "/" + n
	}
	obj, ok := o.read(apiVersion, kindName)
	for _, f := range o.faults {
		f.Object = o.name
		if prefix != "" {
			f.Object = prefix + " " + f.Object
		}
		r.d.Faults = append(r.d.Faults, f)
	}
	switch {
	case ok && !o.blocked:
		r.d.Objects = append(r.d.Objects, obj)
		r.d.references = append(r.d.references, o.references(obj.Object)...)
	case o.blocked:
		r.d.Incomplete = true
		if o.key.Kind != "" && o.key.Name != "" {
			r.d.Blocked = append(r.d.Blocked, o.key)
		}
	}
}

func (o *objectReader) error(line, col int, field, text, remedy string) {
	o.faults = append(o.faults, Fault{Line: line, Column: col, Severity: Error, Field: field, Text: text, Remedy: remedy})
	o.blocked = true
}

func (o *objectReader) warn(line, col int, field, text, remedy string) {
	o.faults = append(o.faults, Fault{Line: line, Column: col, Severity: Warning, Field: field, Text: text, Remedy: remedy})
}

func (o *objectReader) read(apiVersion, kindName string) (Object, bool) {
	gvk, ok := o.identify(apiVersion, kindName)
	if !ok {
		return Object{}, false
	}
	from := gvk
	if as, removed := o.catalog.removed[gvk]; removed {
		line, col, _ := o.root.find("apiVersion")
		o.warn(line, col, "apiVersion", fmt.Sprintf("%s is no longer served since Kubernetes 1.36 or before: read as %s", apiVersion, as.GroupVersion()),
			"write apiVersion: "+as.GroupVersion().String())
		gvk = as
	}
	o.kind = o.catalog.served[gvk]
	o.key = o.guessKey(gvk)
	if o.kind.opaque {
		o.honourKind()
		o.checkOpaque()
		return Object{}, false
	}
	typed, ok := o.decode(from, gvk)
	if !ok {
		o.blocked = true
		return Object{}, false
	}
	if !o.blocked && o.honourKind() {
		o.honour(reflect.TypeOf(typed))
	}
	return o.finish(typed, gvk)
}

// identify finds out what kind of object this is. It reports false when there is nothing more to read.
func (o *objectReader) identify(apiVersion, kindName string) (schema.GroupVersionKind, bool) {
	none := schema.GroupVersionKind{}
	for _, name := range []string{"apiVersion", "kind"} {
		if e := o.root.get(name); e != nil && e.value.shape != stringShape && e.value.shape != nullShape {
			o.error(e.value.line, e.value.col, name, "must be a string, not "+e.value.describe(), "")
			return none, false
		}
	}
	line, col := o.firstLine()
	switch {
	case apiVersion == "" && kindName == "":
		o.name = ""
		o.error(line, col, "", "is not a Kubernetes object: apiVersion and kind are missing", "")
		return none, false
	case kindName == "":
		o.name = ""
		o.error(line, col, "kind", "is missing", "")
		return none, false
	case apiVersion == "":
		o.error(line, col, "apiVersion", "is missing", o.catalog.similar(schema.GroupVersionKind{Kind: kindName}))
		return none, false
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		line, col, _ := o.root.find("apiVersion")
		o.error(line, col, "apiVersion", fmt.Sprintf("%q is no API version", shorten(apiVersion, 60)), "")
		return none, false
	}
	gvk := gv.WithKind(kindName)
	_, served := o.catalog.served[gvk]
	_, removed := o.catalog.removed[gvk]
	switch {
	case served || removed:
		return gvk, true
	case o.catalog.groups[gvk.Group]:
		line, col, _ := o.root.find("kind")
		if gvk.Group != "" && !o.catalog.hasVersion(gv) {
			line, col, _ = o.root.find("apiVersion")
		}
		o.error(line, col, "", fmt.Sprintf("there is no kind %q in apiVersion %q", shorten(kindName, 60), shorten(apiVersion, 60)), o.catalog.similar(gvk))
	default:
		o.warn(line, col, "", fmt.Sprintf("belongs to the API group %q, which Kubernetes itself does not have: berth ignores it", gvk.Group), "")
	}
	return none, false
}

func (c *catalog) hasVersion(gv schema.GroupVersion) bool {
	for gvk := range c.served {
		if gvk.GroupVersion() == gv {
			return true
		}
	}
	return false
}

func (o *objectReader) firstLine() (line, col int) {
	if len(o.root.fields) > 0 {
		return o.root.fields[0].line, o.root.fields[0].col
	}
	return o.root.line, o.root.col
}

// guessKey reads the key off the tree, so that a faulty object still has one.
func (o *objectReader) guessKey(gvk schema.GroupVersionKind) Key {
	meta := o.root.value("metadata")
	k := Key{Group: gvk.Group, Kind: gvk.Kind, Name: meta.str("name"), Namespace: meta.str("namespace")}
	switch {
	case o.kind.cluster:
		k.Namespace = ""
	case k.Namespace == "":
		k.Namespace = metav1.NamespaceDefault
	}
	return k
}

// checkOpaque looks at the little that all objects have in common.
func (o *objectReader) checkOpaque() {
	if o.key.Name == "" && o.root.value("metadata").str("generateName") == "" {
		line, col, _ := o.root.find("metadata.name")
		o.error(line, col, "metadata.name", "Required value: name or generateName is required", "")
	}
}

// decode compares the tree with the types and fills an object of the version gvk.
func (o *objectReader) decode(from, gvk schema.GroupVersionKind) (kruntime.Object, bool) {
	if from = o.rewriteAutoscaler(from); sameToday(from) {
		from = gvk
	}
	typed, r, err := o.compare(from)
	if err == nil && from != gvk && len(r.faults) > 0 { // it may be of the new version already, but for its first line
		if t, again, err2 := o.compare(gvk); err2 == nil && len(again.faults) == 0 {
			typed, r, from = t, again, gvk
		}
	}
	if err != nil {
		return nil, o.failed("be read", err)
	}
	for _, f := range r.faults {
		o.error(f.Line, f.Column, f.Field, f.Text, f.Remedy)
	}
	if len(r.out) == 0 {
		return nil, false
	}
	if err := utiljson.Unmarshal(r.out, typed); err != nil {
		return nil, o.failed("be decoded", err)
	}
	if typed, err = modernize(typed, from, gvk); err != nil {
		return nil, o.failed("be read as "+gvk.GroupVersion().String(), err)
	}
	o.prepare(typed)
	o.validate(typed, r.bad)
	return typed, true
}

// compare holds the tree against a version. The reader has the faults, and the JSON of what is right.
func (o *objectReader) compare(gvk schema.GroupVersionKind) (kruntime.Object, *typedReader, error) {
	typed, err := Scheme().New(gvk)
	if err != nil {
		return nil, nil, err
	}
	r := &typedReader{table: o.table, root: reflect.TypeOf(typed).Elem(), ignore: setByServer, line: o.root.line, col: o.root.col}
	if !r.read(o.root, r.root, "") {
		r.out = nil
	}
	return typed, r, nil
}

// failed notes an error of the object as a whole. It returns false, for the reader to return.
func (o *objectReader) failed(what string, err error) bool {
	line, col := o.firstLine()
	o.error(line, col, "", fmt.Sprintf("cannot %s: %v", what, err), "")
	return false
}

// setByServer names the fields that the server sets and that a file, often one that was read from a server, has no say in.
func setByServer(path string) bool {
	switch path {
	case "status", "metadata.uid", "metadata.resourceVersion", "metadata.generation", "metadata.creationTimestamp", "metadata.managedFields",
		"metadata.selfLink", "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds":
		return true
	}
	return false
}

// prepare fills in defaults and the namespace.
func (o *objectReader) prepare(typed kruntime.Object) {
	acc, err := meta.Accessor(typed)
	if err != nil {
		return
	}
	switch {
	case o.kind.cluster:
		acc.SetNamespace("")
	case acc.GetNamespace() == "":
		acc.SetNamespace(metav1.NamespaceDefault)
	}
	if acc.GetName() == "" && acc.GetGenerateName() != "" {
		acc.SetName(acc.GetGenerateName() + o.stableSuffix())
		o.key.Name = acc.GetName()
	}
	Scheme().Default(typed)
	if s, ok := typed.(*corev1.Secret); ok {
		mergeStringData(s)
	}
}

// mergeStringData does what a server does with the text of a Secret: it is stored as data, and wins over it.
func mergeStringData(s *corev1.Secret) {
	if s.Data == nil && len(s.StringData) > 0 {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for key, text := range s.StringData {
		s.Data[key] = []byte(text)
	}
	s.StringData = nil
}

// stableSuffix stands for the random letters that a server appends to generateName: here every reading must give the same name, so they
// come from the object's place.
func (o *objectReader) stableSuffix() string {
	const letters = "bcdfghjklmnpqrstvwxz2456789" // no vowels: no words
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s\x00%d", o.d.File, o.doc, o.key.Kind, len(o.d.Objects)))
	out := make([]byte, 5)
	for i := range out {
		out[i] = letters[int(sum[i])%len(letters)]
	}
	return string(out)
}

// finish makes the object of the snapshot.
func (o *objectReader) finish(typed kruntime.Object, gvk schema.GroupVersionKind) (Object, bool) {
	typed.GetObjectKind().SetGroupVersionKind(gvk)
	acc, err := meta.Accessor(typed)
	if err != nil || o.blocked {
		return Object{}, false
	}
	o.key = Key{Group: gvk.Group, Kind: gvk.Kind, Namespace: acc.GetNamespace(), Name: acc.GetName()}
	text, err := json.Marshal(typed)
	if err != nil {
		return Object{}, o.failed("be encoded", err)
	}
	sum := sha256.Sum256(text)
	line, _ := o.firstLine()
	return Object{Key: o.key, GVK: gvk, Origin: Origin{File: o.d.File, Line: line, Doc: o.doc}, Object: typed, Hash: hex.EncodeToString(sum[:])}, true
}
