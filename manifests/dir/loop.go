package dir

import (
	"context"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"berth/manifests"
)

// loop is the state of a running source. One goroutine owns it.
type loop struct {
	src     *Source
	w       *watcher // nil: polling
	emit    func(manifests.Snapshot)
	once    bool // read as it is, nothing will come after
	files   map[string]*file
	dirty   map[string]bool  // files to look at
	pending map[string]*file // files to look at again at a time of their own
	tree    tree
	polling string // why events cannot be relied on, "" when they can

	changed   bool                         // since the last snapshot
	current   *manifests.Snapshot          // the last one merged or patched, without what the walk adds; nil: merge anew
	edits     map[string]manifests.Decoded // files taken over since, as they were before
	started   bool
	last      time.Time // of the last snapshot
	spent     int       // snapshots in quick succession
	publishAt time.Time
	heldSince time.Time // a Git operation holds the snapshot back
	passAt    time.Time
	vain      time.Time // until then the vain wake-ups are paid for
	deaf      time.Time // until then events wait
}

// file is a manifest file and what is known about it.
type file struct {
	stamp   stamp
	hash    [sha256.Size]byte
	loaded  bool // hash and decoded are of a settled content
	decoded manifests.Decoded
	keys    map[manifests.Key]bool // what it declared when it could last be read as a whole

	due       time.Time         // look again then
	busySince time.Time         // somebody has it open for writing
	wrote     time.Time         // last
	candidate [sha256.Size]byte // content that must stay for a moment before it counts
	trial     time.Time         // since when it is there
	goneSince time.Time
}

// How long something that looks like damage (a vanished file, fewer objects, new faults) must stay before it counts: editors that move
// the old file away first, and programs that write in several goes, are done by then.
const damageDelay = 100 * time.Millisecond

// leaselessDelay is how long a file must be unchanged where the kernel cannot say whether it is still open for writing.
const leaselessDelay = 300 * time.Millisecond

// A file that somebody has open for writing is looked at again after 1, 2, 4, 8 ms and so on, because no event tells of its close: small
// files are closed microseconds after their last write, so that the first looks decide how quickly a save is seen. The pause is never
// longer than the writer has been silent, and ends at Options.Poll. Each write begins anew, but not quicker than busyPace once the file has
// been written to for that long: a file that grows for minutes costs a hundred looks a second, whatever the number of its writes.
const (
	busyFirst = time.Millisecond
	busyPace  = 10 * time.Millisecond
)

// Wake-ups by events that mean nothing (writes to a file known as busy, or to none of ours) have a credit: a save has a few of them, and the
// rename that ends it must not wait. When vainCredit/vainCost came in a row, events wait in the kernel for vainCost, which makes one of many.
const (
	vainCost   = 5 * time.Millisecond
	vainCredit = 32 * vainCost
)

func newLoop(s *Source, w *watcher, emit func(manifests.Snapshot)) *loop {
	return &loop{src: s, w: w, emit: emit, files: map[string]*file{}, dirty: map[string]bool{}, pending: map[string]*file{}, edits: map[string]manifests.Decoded{}}
}

// wait sleeps until an event or a due look, and takes in the events. It returns false when ctx ended.
func (l *loop) wait(ctx context.Context) bool {
	now := l.src.clock.Now()
	at := l.next()
	var events <-chan fsnotify.Event
	var lost, mounts <-chan struct{}
	if l.w != nil {
		events, lost, mounts = l.w.events, l.w.lost, l.w.mounts
	}
	if now.Before(l.deaf) {
		events = nil
		if l.deaf.Before(at) {
			at = l.deaf
		}
	}
	timer := l.src.clock.NewTimer(max(at.Sub(now), 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case e := <-events:
		l.take(e, events)
	case r := <-l.src.rewrites:
		r.done <- l.rewrite(r) //nolint:contextcheck // decoding and validating wait for nobody
	case <-lost:
		l.rescan()
	case <-mounts:
		if l.w.moved() {
			l.rescan()
		}
	case <-timer.C():
		if !l.src.clock.Now().Before(l.passAt) {
			l.rescan()
		}
	}
	return true
}

// next is when something is due.
func (l *loop) next() time.Time {
	at := l.passAt
	if l.changed && !l.publishAt.IsZero() && l.publishAt.Before(at) {
		at = l.publishAt
	}
	for _, f := range l.pending {
		if f.due.Before(at) {
			at = f.due
		}
	}
	return at
}

// take turns an event, and what came with it, into things to look at.
func (l *loop) take(e fsnotify.Event, more <-chan fsnotify.Event) {
	now := l.src.clock.Now()
	all := false
	for range 4 * eventBuffer { // what came meanwhile belongs to the same look, within reason
		all = l.takeOne(e, now) || all
		select {
		case e = <-more:
			continue
		default:
		}
		break
	}
	if all {
		l.rescan()
	}
	if all || len(l.dirty) > 0 {
		l.vain = time.Time{}
		return
	}
	if l.vain.Before(now) {
		l.vain = now
	}
	if l.vain = l.vain.Add(vainCost); l.vain.Sub(now) > vainCredit {
		l.deaf = now.Add(vainCost)
	}
}

// takeOne handles one event and reports whether the whole tree needs a look.
func (l *loop) takeOne(e fsnotify.Event, now time.Time) bool {
	path := filepath.Clean(e.Name) // //name in the root directory
	at, base := filepath.Dir(path), filepath.Base(path)
	rel, inside := l.tree.inside(at)
	ours := inside && l.tree.folders[rel]
	name := join(rel, base)
	switch {
	case e.Op == fsnotify.Write:
		l.takeWrite(path, name, ours && isManifest(base), now)
		return false
	case l.tree.dirs[path], l.tree.anchors[path], l.tree.linked[at]:
		return true // a folder itself was removed, moved or changed, or what links lead to or through
	case l.tree.fault != nil:
		return inside // the directory may be back
	case !ours, isHidden(base):
		return false
	}
	if info, err := os.Lstat(path); err == nil && (info.IsDir() || info.Mode()&os.ModeSymlink != 0) {
		return true // where a link leads is a question for the walk
	}
	if isManifest(base) {
		l.dirty[name] = true
	}
	return false
}

// takeWrite handles a write to a file, which seldom comes alone.
func (l *loop) takeWrite(path, name string, ours bool, now time.Time) {
	names := l.tree.targets[path]
	if names == nil && ours && l.tree.fault == nil {
		names = []string{name}
	}
	for _, name := range names {
		f := l.pending[name]
		if f == nil || f.busySince.IsZero() || now.Sub(f.busySince) < busyFirst {
			l.dirty[name] = true
			continue
		}
		f.wrote = now
		if due := now.Add(min(now.Sub(f.busySince), busyPace)); due.Before(f.due) {
			f.due = due
		}
	}
}

// settle looks at the files that are due and takes over what has settled.
func (l *loop) settle() {
	now := l.src.clock.Now()
	for name, f := range l.pending {
		if !now.Before(f.due) {
			l.dirty[name] = true
		}
	}
	if len(l.dirty) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(l.dirty))
	clear(l.dirty)
	for i, look := range l.inspectAll(names) {
		l.judge(names[i], look, now)
		if f := l.files[names[i]]; f != nil && !f.due.IsZero() {
			l.pending[names[i]] = f
		} else {
			delete(l.pending, names[i])
		}
	}
}

// publish emits a snapshot when something changed, the source was quiet, and no Git operation is halfway through the tree.
func (l *loop) publish() {
	if l.started && !l.changed {
		return
	}
	now := l.src.clock.Now()
	if rest := l.rest(now); l.started && rest > 0 {
		l.publishAt = now.Add(rest)
		return
	}
	if l.started && l.gitBusy(now) {
		l.publishAt = now.Add(gitPause)
		return
	}
	l.started, l.changed, l.publishAt, l.heldSince = true, false, time.Time{}, time.Time{}
	l.last = now
	l.spent++
	l.emit(l.snapshot())
}

// rest is how long the source must still be silent. The first few of a series are free: a person who saves twice in a row waits for
// neither.
func (l *loop) rest(now time.Time) time.Duration {
	const free = 3
	since := now.Sub(l.last)
	if l.src.quiet > 0 {
		l.spent = max(l.spent-int(since/l.src.quiet), 0)
	} else {
		l.spent = 0
	}
	if l.spent < free {
		return 0
	}
	return l.src.quiet - since
}

// gitPatience is how long a lock of Git's index holds a snapshot back: a checkout of a large tree is done by then, and a lock that a
// crash left behind must not stop berth for ever.
const gitPatience = 3 * time.Second

// gitPause is how long after a look at that lock comes the next.
const gitPause = 50 * time.Millisecond

// gitBusy reports whether Git is rewriting the tree: its index is locked, so a snapshot now would mix two commits.
func (l *loop) gitBusy(now time.Time) bool {
	if l.tree.gitDir == "" {
		return false
	}
	if _, err := os.Lstat(filepath.Join(l.tree.gitDir, "index.lock")); err != nil {
		return false
	}
	if l.heldSince.IsZero() {
		l.heldSince = now
	}
	return now.Sub(l.heldSince) < gitPatience
}

// snapshot is the picture as it is known now.
func (l *loop) snapshot() manifests.Snapshot {
	if l.tree.fault != nil {
		return manifests.Snapshot{Source: l.src.path, Faults: []manifests.Fault{*l.tree.fault}, Incomplete: []string{"/"}}
	}
	snap, ok := l.patched()
	if !ok {
		snap = l.merged()
	}
	clear(l.edits)
	base := snap
	l.current = &base
	l.tree.report(&snap)
	if l.polling != "" {
		snap.Faults = append(slices.Clip(snap.Faults), manifests.Fault{File: ".", Severity: manifests.Warning, Text: l.polling})
	}
	return snap
}

// patched is the last snapshot with the few files that changed since, when that is all there is to it.
func (l *loop) patched() (manifests.Snapshot, bool) {
	const few = 16
	if l.current == nil || len(l.edits) > few || len(l.files) != l.current.Files || slices.ContainsFunc(l.current.Faults, aboutSeveral) {
		return manifests.Snapshot{}, false
	}
	snap := *l.current
	for name, before := range l.edits {
		f := l.files[name]
		if f == nil {
			return manifests.Snapshot{}, false
		}
		var ok bool
		if snap, ok = snap.Patch(before, f.decoded); !ok {
			return snap, false
		}
	}
	return snap, true
}

// aboutSeveral reports a fault that may belong to more files than the one it names.
func aboutSeveral(f manifests.Fault) bool {
	return strings.Contains(f.Text, "declared twice") || manifests.IsKustomization(f.File)
}

func (l *loop) merged() manifests.Snapshot {
	decoded := make([]manifests.Decoded, 0, len(l.files))
	var reserved map[manifests.Key]manifests.Origin
	for name, f := range l.files {
		decoded = append(decoded, f.decoded)
		if !f.decoded.Incomplete {
			continue
		}
		for k := range f.keys {
			if reserved == nil {
				reserved = map[manifests.Key]manifests.Origin{}
			}
			reserved[k] = manifests.Origin{File: name}
		}
	}
	return manifests.Merge(l.src.path, decoded, reserved)
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
