package edit

import (
	"cmp"
	"fmt"
	"slices"

	"berth/manifests"
)

// RemoveAll returns the file without all objects that gone names, as if Remove had been called for each; nil when nothing is left to be said.
func RemoveAll(file string, data []byte, gone func(manifests.Key) bool) ([]byte, error) {
	before := manifests.Decode(file, data)
	var left []manifests.Object
	for _, o := range before.Objects {
		if !gone(o.Key) {
			left = append(left, o)
		}
	}
	if len(left) == len(before.Objects) {
		return data, nil
	}
	out := data
	for {
		d := manifests.Decode(file, out)
		cuts, text, err := removals(d.Objects, out, gone)
		if err != nil {
			return nil, err
		}
		if len(cuts) == 0 {
			break
		}
		out = text.apply(joined(cuts))
	}
	after := manifests.Decode(file, out)
	if len(after.Objects) == 0 && !before.Incomplete && saysNothing(out) {
		return nil, nil
	}
	if after.Incomplete && !before.Incomplete {
		return nil, &Error{Reason: "the file would not be valid any more", Remedy: "change it in the file"}
	}
	if !slices.EqualFunc(left, after.Objects, func(a, b manifests.Object) bool { return a.Key == b.Key && a.Hash == b.Hash }) {
		return nil, &Error{Reason: "other objects in the same file would change too", Remedy: "change it in the file"}
	}
	return out, nil
}

// removals are the cuts that remove whole documents, all at once; where a document has other objects too, the one that removes the first object of it.
func removals(objects []manifests.Object, data []byte, gone func(manifests.Key) bool) ([]splice, *text, error) {
	stays := map[int]bool{} // by document
	for _, o := range objects {
		stays[o.Origin.Doc] = stays[o.Origin.Doc] || !gone(o.Key)
	}
	var cuts []splice
	var t *text
	cut := map[int]bool{}
	for _, o := range objects {
		if !gone(o.Key) || cut[o.Origin.Doc] {
			continue
		}
		d, err := open(data, o)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot remove %s: %w", o.Key, err)
		}
		c := change{d: d}
		if !stays[o.Origin.Doc] {
			for d.root.parent != nil {
				d.root = d.root.parent
			}
			d.alone = true
		}
		if err := c.removeObject(); err != nil {
			return nil, nil, fmt.Errorf("cannot remove %s: %w", o.Key, err)
		}
		cut[o.Origin.Doc], t = true, d.text
		cuts = append(cuts, c.splices...)
	}
	return cuts, t, nil
}

// joined are cuts that do not overlap: two documents side by side share the separator between them.
func joined(cuts []splice) []splice {
	slices.SortFunc(cuts, func(a, b splice) int { return cmp.Compare(a.start, b.start) })
	var out []splice
	for _, s := range cuts {
		if n := len(out) - 1; n >= 0 && s.text == "" && out[n].text == "" && s.start <= out[n].end {
			out[n].end = max(out[n].end, s.end)
			continue
		}
		out = append(out, s)
	}
	return out
}
