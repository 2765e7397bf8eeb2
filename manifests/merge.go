package manifests

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Merge makes one picture of many files. An object that stands in two files belongs to the first by path; the other is a fault that names
// both. Of two in one file the last one counts, as for kubectl, with a warning. reserved are objects of files that cannot be read now (Incomplete): their owner is known from before, and
// nobody else gets them; it may be nil. Merge does not change the files, but shares their objects.
func Merge(source string, files []Decoded, reserved map[Key]Origin) Snapshot {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b Decoded) int { return strings.Compare(a.File, b.File) })
	m := merger{owner: make(map[Key]claim, len(files)), reserved: reserved}
	m.snap = Snapshot{Source: source, Files: len(files)}
	for i := range files {
		m.claimBlocked(&files[i])
	}
	for i := range files {
		m.add(&files[i])
	}
	m.kustomize(files)
	slices.SortFunc(m.snap.Objects, func(a, b Object) int { return CompareKeys(a.Key, b.Key) })
	sortFaults(m.snap.Faults)
	return m.snap
}

// CompareKeys orders keys by group, kind, namespace and name.
func CompareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// claim is who an object belongs to.
type claim struct {
	file string
	line int
}

type merger struct {
	snap     Snapshot
	owner    map[Key]claim
	reserved map[Key]Origin
}

// claimBlocked gives faulty objects to their files, the first by path: an object must not change hands while its owner is being edited.
func (m *merger) claimBlocked(d *Decoded) {
	for _, k := range d.Blocked {
		if _, taken := m.owner[k]; !taken {
			m.owner[k] = claim{file: d.File}
		}
	}
}

func (m *merger) add(d *Decoded) {
	m.snap.Faults = append(m.snap.Faults, d.Faults...)
	if d.Incomplete {
		m.snap.Incomplete = append(m.snap.Incomplete, d.File)
	}
	for _, o := range d.Objects {
		first, taken := m.ownerOf(o)
		switch {
		case taken && first.line != 0 && first.file == o.Origin.File:
			m.restate(o, first)
		case taken && (first.line != 0 || cmp.Compare(o.Origin.File, first.file) >= 0):
			m.duplicate(o, first)
			continue
		default:
			m.snap.Objects = append(m.snap.Objects, o)
		}
		m.owner[o.Key] = claim{file: o.Origin.File, line: o.Origin.Line}
	}
}

// restate puts an object in the place of the one that the same file has declared before. A file is applied from its top to its end.
func (m *merger) restate(o Object, first claim) {
	at := slices.IndexFunc(m.snap.Objects, func(have Object) bool { return have.Key == o.Key })
	m.snap.Objects[at] = o
	m.snap.Faults = append(m.snap.Faults, Fault{
		File: o.Origin.File, Line: o.Origin.Line, Severity: Warning, Object: o.Key.Kind + "/" + o.Key.Name,
		Text: fmt.Sprintf("%s is declared twice, on lines %d and %d: the last one counts", o.Key, first.line, o.Origin.Line), Remedy: "remove one",
	})
}

// ownerOf is who the object's key belongs to already. What is reserved for a file is there for the file itself.
func (m *merger) ownerOf(o Object) (claim, bool) {
	if c, ok := m.owner[o.Key]; ok {
		return c, true
	}
	if r, ok := m.reserved[o.Key]; ok && r.File != o.Origin.File {
		return claim{file: r.File}, true
	}
	return claim{}, false
}

func (m *merger) duplicate(o Object, first claim) {
	where := first.file
	if first.line > 0 {
		where = fmt.Sprintf("%s:%d", first.file, first.line)
	}
	m.snap.Faults = append(m.snap.Faults, Fault{
		File: o.Origin.File, Line: o.Origin.Line, Severity: Error, Object: o.Key.Kind + "/" + o.Key.Name,
		Text: fmt.Sprintf("%s is declared twice: %s keeps it, this one (%s) is ignored", o.Key, where, o.Origin), Remedy: "remove one, or give it another name or namespace",
	})
}

// kustomize puts one message in the place of the many that files meant for kustomize earn when they are read as they are.
func (m *merger) kustomize(files []Decoded) {
	for _, d := range files {
		if !d.Kustomization {
			continue
		}
		dir := path.Dir(d.File)
		bad := map[string]bool{}
		m.snap.Faults = slices.DeleteFunc(m.snap.Faults, func(f Fault) bool {
			if path.Dir(f.File) != dir || f.Severity != Error {
				return false
			}
			bad[f.File] = true
			return true
		})
		f := Fault{File: d.File, Line: 1, Severity: Warning, Text: "berth does not run kustomize: the files of this folder are read as they are"}
		if len(bad) > 0 {
			f.Severity = Error
			f.Text = fmt.Sprintf("this folder is made for kustomize, and %d of its files are no whole manifests", len(bad))
			f.Remedy = "give berth what `kubectl kustomize` prints"
		}
		m.snap.Faults = append(m.snap.Faults, f)
	}
}
