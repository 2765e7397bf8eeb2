package manifests

import "slices"

// Patch returns the snapshot with one file read anew, when that is plain: the file declares the same objects as before, all of them its
// own, and nothing about it is or was incomplete. Otherwise it reports false, and Merge has to look at everything. A Patch costs a copy
// of the list where Merge sorts and compares: 10,000 files are edited one at a time. s is not changed.
func (s Snapshot) Patch(before, after Decoded) (Snapshot, bool) {
	if !plain(before) || !plain(after) || before.File != after.File || len(before.Objects) != len(after.Objects) {
		return s, false
	}
	places := make([]int, len(after.Objects))
	for i, o := range after.Objects {
		at, found := slices.BinarySearchFunc(s.Objects, o.Key, func(have Object, k Key) int { return CompareKeys(have.Key, k) })
		if !found || s.Objects[at].Origin.File != after.File || slices.Contains(places[:i], at) {
			return s, false
		}
		places[i] = at
	}
	s.Objects = slices.Clone(s.Objects)
	for i, at := range places {
		s.Objects[at] = after.Objects[i]
	}
	if len(before.Faults)+len(after.Faults) > 0 {
		s.Faults = slices.DeleteFunc(slices.Clone(s.Faults), func(f Fault) bool { return f.File == after.File })
		s.Faults = append(s.Faults, after.Faults...)
		sortFaults(s.Faults)
	}
	return s, true
}

func plain(d Decoded) bool { return !d.Incomplete && !d.Kustomization && len(d.Blocked) == 0 }
