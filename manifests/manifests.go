// Package manifests reads what the user wrote: files of Kubernetes objects become typed, defaulted, validated objects and a list of
// faults, each with file, line and field. A source watches a place and gives whole pictures of it, snapshots.
package manifests

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"berth/manifests/fields"
)

// Key names an object across files.
type Key struct {
	Group, Kind, Namespace, Name string
}

// String is KIND/NAMESPACE/NAME, or KIND/NAME for what has no namespace.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind + "/" + k.Name
	}
	return k.Kind + "/" + k.Namespace + "/" + k.Name
}

// Origin is where an object stands.
type Origin struct {
	// File is the path as the source names it: below the watched directory, with forward slashes.
	File string `json:"file"`
	// Line is the first line of the object, from 1. Doc counts documents of the file from 0.
	Line int `json:"line"`
	Doc  int `json:"doc"`
}

// String is FILE:LINE.
func (o Origin) String() string { return fmt.Sprintf("%s:%d", o.File, o.Line) }

// Object is one valid object with its defaults filled in.
type Object struct {
	Key    Key
	GVK    schema.GroupVersionKind
	Origin Origin
	// Object is a typed external version (apps/v1 Deployment …). It belongs to the snapshot: copy before changing it.
	Object kruntime.Object
	// Hash identifies the content: equal hashes mean nothing to do.
	Hash string
}

// Severity tells faults from warnings.
type Severity string

// A fault blocks its object, a warning does not.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Fault is something wrong in a file.
type Fault struct {
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`   // from 1; 0 when the whole file is meant
	Column   int      `json:"column,omitempty"` // from 1; 0 when unknown
	Severity Severity `json:"severity"`
	Object   string   `json:"object,omitempty"` // KIND/NAME when it could be read
	Field    string   `json:"field,omitempty"`  // spec.template.spec.containers[0].image
	Text     string   `json:"text"`
	// Verdict is set when the fault is about a field or kind that is not honoured, "" otherwise.
	Verdict fields.Verdict `json:"verdict,omitempty"`
	// Remedy is what to do about it, "" when the text says it.
	Remedy string `json:"remedy,omitempty"`
}

// String is PATH:LINE:COL: error: KIND/NAME FIELD: text; remedy.
func (f Fault) String() string {
	s := f.File
	if f.Line > 0 {
		s += fmt.Sprintf(":%d", f.Line)
		if f.Column > 0 {
			s += fmt.Sprintf(":%d", f.Column)
		}
	}
	s += ": " + string(f.Severity) + ":"
	if f.Object != "" {
		s += " " + f.Object
	}
	if f.Field != "" {
		s += " " + f.Field
	}
	if f.Object != "" || f.Field != "" {
		s += ":"
	}
	s += " " + f.Text
	if f.Remedy != "" {
		s += "; " + f.Remedy
	}
	return printable(s)
}

// printable keeps a line one line, and terminals from being painted by what a file holds or is called.
func printable(s string) string {
	if strings.IndexFunc(s, unicode.IsControl) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Snapshot is one consistent picture of a source.
type Snapshot struct {
	// Source names the place: a directory.
	Source string
	// Objects are sorted by key, at most one of each.
	Objects []Object
	// Faults are sorted by file and line.
	Faults []Fault
	// Incomplete lists files (and directories, ended by a slash; "/" alone is everything) that could not be read as a whole: what was
	// declared there before and is not in Objects is not known to be gone, so it stays.
	Incomplete []string
	// Files is the number of manifest files that were read.
	Files int
}

// Source gives snapshots of a place.
type Source interface {
	// Run calls emit with a first snapshot at once and with a new one after every change of content, one at a time, until ctx ends.
	Run(ctx context.Context, emit func(Snapshot)) error
}
