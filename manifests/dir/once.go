package dir

import "berth/manifests"

// Read gives one snapshot of a directory as it is now, without watching it.
func Read(path string) manifests.Snapshot {
	l := newLoop(New(path, Options{}), nil, nil)
	l.once = true
	l.rescan()
	l.settle()
	return l.snapshot()
}
