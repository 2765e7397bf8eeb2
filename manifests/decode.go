package manifests

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// Decoded is what one file says.
type Decoded struct {
	File    string
	Objects []Object // in the order of the file
	Faults  []Fault  // sorted by line
	// Blocked are the objects that the file names and that faults keep out of Objects. They still belong to the file.
	Blocked []Key
	// Incomplete says that something in the file could not be read, or that the file is empty where a crash may have emptied it: what is
	// not in Objects is not known to be unwanted.
	Incomplete bool
	// Kustomization says that the file configures kustomize and declares nothing itself.
	Kustomization bool

	references []reference
}

// decoder is what reading needs besides the bytes. It is safe for concurrent use.
type decoder struct {
	catalog *catalog
	table   *typeTable
}

var sharedDecoder = sync.OnceValue(func() *decoder { return &decoder{catalog: newCatalog(), table: &typeTable{}} })

// Decode reads the text of a file: every document, with defaults and validation, and every fault of every document. It never fails and
// never panics; what is wrong is in Faults. It is safe for concurrent use.
func Decode(file string, data []byte) Decoded {
	r := fileReader{decoder: sharedDecoder(), d: Decoded{File: file}}
	r.read(data)
	for i := range r.d.Faults {
		f := &r.d.Faults[i]
		f.File = file
		if f.Severity == "" {
			f.Severity = Error
		}
	}
	sortFaults(r.d.Faults)
	return r.d
}

func sortFaults(faults []Fault) { slices.SortStableFunc(faults, compareFaults) }

func compareFaults(a, b Fault) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

// IsKustomization reports whether a file of this name configures kustomize.
func IsKustomization(file string) bool {
	switch path.Base(file) {
	case "kustomization.yaml", "kustomization.yml", "Kustomization":
		return true
	}
	return false
}

type fileReader struct {
	*decoder
	d   Decoded
	doc int // the document that is being read, from 0
}

func (r *fileReader) read(data []byte) {
	if IsKustomization(r.d.File) {
		r.d.Kustomization = true
		return
	}
	text, fault := plainText(data)
	if fault != nil {
		r.d.Faults = append(r.d.Faults, *fault)
		r.d.Incomplete = true
		return
	}
	if rest := r.readJSON(text); rest != nil {
		for _, doc := range splitDocuments(rest) {
			r.doc = doc.index
			r.readDocument(doc)
		}
	}
	if len(r.d.Objects) == 0 && len(r.d.Faults) == 0 {
		r.noObjects(text)
	}
}

// noObjects judges a file that says nothing. One with comments was emptied by a person; one without may have been by a crash.
func (r *fileReader) noObjects(text []byte) {
	f := Fault{Line: 1, Severity: Warning, Text: "declares no objects"}
	if !hasComment(text) {
		r.d.Incomplete = true
		f.Text, f.Remedy = "is empty: what it declared before is kept", "delete the file to remove it"
	}
	r.d.Faults = append(r.d.Faults, f)
}

// readJSON reads the file as a stream of JSON values and returns what is left to be read as YAML: all of it when it is no such stream, what
// stands below one value, nothing otherwise.
func (r *fileReader) readJSON(text []byte) (rest []byte) {
	trimmed := bytes.TrimLeft(text, " \t\n")
	if len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[' {
		return text
	}
	if n := values(text); n > maxValues {
		return text // says so
	}
	roots, notes, end, err := jsonTrees(text)
	if errors.Is(err, errTooDeep) {
		r.block(Fault{Line: 1, Text: err.Error()})
		return nil
	}
	if err != nil && len(roots) == 0 {
		return text
	}
	r.d.Faults = append(r.d.Faults, notes...)
	for i, root := range roots {
		r.doc = i
		r.readRoot(root)
	}
	switch {
	case err == nil:
		return nil
	case len(roots) == 1: // only more than one value make it sure that the file is JSON
		return blank(text, end)
	}
	line, col := position(text, end)
	r.block(Fault{Line: line, Column: col, Text: "cannot be read as JSON: " + err.Error()})
	return nil
}

// blank replaces the beginning of a text, up to the offset end, by spaces: what follows keeps its place.
func blank(text []byte, end int) []byte {
	out := bytes.Clone(text)
	for i := range end {
		if out[i] != '\n' {
			out[i] = ' '
		}
	}
	return out
}

func (r *fileReader) readDocument(doc document) {
	if doc.fault != nil {
		r.block(*doc.fault)
		return
	}
	root, notes, fault := yamlTree(doc.text, doc.line)
	r.d.Faults = append(r.d.Faults, notes...)
	if fault != nil {
		r.block(*fault)
		return
	}
	if root != nil {
		r.readRoot(root)
	}
}

// block notes a fault that hides what was declared.
func (r *fileReader) block(f Fault) {
	f.Severity = Error
	r.d.Faults = append(r.d.Faults, f)
	r.d.Incomplete = true
}

func (r *fileReader) readRoot(root *node) {
	switch root.shape {
	case nullShape:
		return
	case mapShape:
	default:
		r.block(Fault{Line: root.line, Column: root.col, Text: "is " + root.describe() + ", not an object: a manifest begins with apiVersion and kind"})
		return
	}
	if isList(root) {
		r.readListItems(root)
		return
	}
	r.readObject(root, "", root.str("apiVersion"), root.str("kind"))
}

// isList reports whether an object is a List, PodList, …: a map of items.
func isList(root *node) bool {
	name := root.str("kind")
	if !strings.HasSuffix(name, "List") {
		return false
	}
	items := root.value("items")
	return items == nil && name == "List" || items != nil && (items.shape == listShape || items.shape == nullShape)
}

func (r *fileReader) readListItems(root *node) {
	items := root.value("items")
	if items == nil {
		r.block(Fault{Line: root.line, Column: root.col, Object: "List", Field: "items", Text: "is missing"})
		return
	}
	version, name := root.str("apiVersion"), strings.TrimSuffix(root.str("kind"), "List")
	for i, item := range items.items {
		prefix := fmt.Sprintf("items[%d]", i)
		if item.shape != mapShape {
			r.block(Fault{Line: item.line, Column: item.col, Field: prefix, Text: "is " + item.describe() + ", not an object"})
			continue
		}
		if isList(item) {
			r.readListItems(item)
			continue
		}
		v, k := item.str("apiVersion"), item.str("kind")
		if k == "" && name != "" { // the items of a PodList need not say that they are Pods
			k = name
			if v == "" {
				v = version
			}
		}
		r.readObject(item, prefix, v, k)
	}
}
