package dir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"berth/manifests"
)

// tree is what the last walk found, besides files. Folders are watched by their real paths, no link on the way: the kernel knows one watch per
// folder, whatever leads to it.
type tree struct {
	root    string // absolute, as given
	real    string // with its links followed
	id      stamp  // of the root: another one means another directory
	fault   *manifests.Fault
	faults  []manifests.Fault   // links, folders
	partial []string            // what could not be read: folders, ended by a slash, and links
	folders map[string]bool     // names of the folders that were walked, "" for the root
	linked  map[string]bool     // real paths of the hidden folders among them
	targets map[string][]string // real paths of the files that links lead to, and of those in hidden folders: their names
	anchors map[string]bool     // paths whose change means a walk
	gitDir  string
	seen    map[string]stamp
	dirs    map[string]bool // real paths of all folders that are watched
}

func newTree(root string) tree {
	return tree{
		root: root, folders: map[string]bool{}, linked: map[string]bool{}, targets: map[string][]string{}, anchors: map[string]bool{},
		seen: map[string]stamp{}, dirs: map[string]bool{},
	}
}

// inside is the path below the directory, with forward slashes, "" for the directory itself.
func (t *tree) inside(abs string) (rel string, ok bool) {
	if abs == t.real {
		return "", true
	}
	rel, ok = strings.CutPrefix(abs, strings.TrimSuffix(t.real, "/")+"/")
	return filepath.ToSlash(rel), ok
}

// report adds what the walk found to a snapshot.
func (t *tree) report(snap *manifests.Snapshot) {
	if len(t.partial)+len(t.faults) == 0 {
		return
	}
	snap.Incomplete = append(slices.Clip(snap.Incomplete), t.partial...)
	slices.Sort(snap.Incomplete)
	snap.Faults = append(slices.Clip(snap.Faults), t.faults...)
	slices.SortStableFunc(snap.Faults, func(a, b manifests.Fault) int { return strings.Compare(a.File, b.File) })
}

// rescan walks the tree, watches its folders, and marks every file that may have changed.
func (l *loop) rescan() {
	now := l.src.clock.Now()
	l.passAt = now.Add(fullPass)
	before, t := l.tree, newTree(l.src.path)
	problem := l.openRoot(&t)
	if problem == "" {
		l.polling = ""
		if l.w == nil && !l.once {
			l.polling = "the kernel gives no watches (fs.inotify.max_user_instances): the directory is read every few seconds instead"
		}
		if remote(t.root) {
			l.polling = "is on a network file system, whose changes the kernel does not report: the directory is read every few seconds"
		}
		if err := l.walk(&t, "", t.real); err != nil {
			problem = plainError(err).Error()
			l.passAt = now.Add(damageDelay) // it was there a moment ago
		} else if before.id.dev != 0 && before.id.dev != t.id.dev && len(t.seen) == 0 && len(l.files) > 0 {
			problem = "is empty and on another file system than before: it looks unmounted"
			t.id = before.id
		}
	}
	if problem != "" {
		l.lose(&t, before, problem)
		return
	}
	if before.fault != nil || !slices.Equal(before.faults, t.faults) || !slices.Equal(before.partial, t.partial) {
		l.changed = true
	}
	l.tree = t
	if l.w != nil {
		l.w.keep(t.dirs)
	}
	l.mark()
	if l.polling != "" {
		l.passAt = now.Add(l.src.poll)
	}
}

// mark compares the walk with what is known.
func (l *loop) mark() {
	now := l.src.clock.Now()
	for name, st := range l.tree.seen {
		if f := l.files[name]; f == nil || !f.loaded || f.stamp != st || st.racy(now) {
			l.dirty[name] = true
		}
	}
	for name := range l.files {
		if _, ok := l.tree.seen[name]; !ok && !l.tree.hides(name) {
			l.dirty[name] = true // gone, or no longer to be read: the look tells
		}
	}
}

// hides reports whether a file lies in a folder that cannot be read now, or is a link that leads nowhere.
func (t *tree) hides(name string) bool {
	return slices.ContainsFunc(t.partial, func(p string) bool { return name == p || strings.HasSuffix(p, "/") && strings.HasPrefix(name, p) })
}

// lose notes that the source as a whole cannot be read. Nothing is forgotten: what it declared may still be wanted.
func (l *loop) lose(t *tree, before tree, problem string) {
	fault := &manifests.Fault{
		File: ".", Severity: manifests.Error, Text: "SourceUnavailable: " + t.root + " " + problem,
		Remedy: "everything stays as it is until the directory is back",
	}
	if before.fault == nil || *before.fault != *fault {
		l.changed = true
	}
	if t.id.dev == 0 {
		t.id = before.id
	}
	if t.real == "" {
		t.real = before.real
	}
	t.fault = fault
	l.tree = *t
	clear(l.dirty)
	clear(l.pending)
	for _, f := range l.files {
		f.goneSince = time.Time{} // what was missing in the old directory has its time in the new one
	}
	if l.w == nil || l.polling != "" {
		l.passAt = l.src.clock.Now().Add(l.src.poll)
	}
}

// walk reads one folder: first the watch, then the list, so that nothing falls between. It returns an error when there is no such folder any more, or
// it is the directory itself that cannot be read.
func (l *loop) walk(t *tree, rel, abs string) error {
	if own, _ := t.inside(abs); own != rel {
		if t.linked[abs] {
			return nil // another link led here: it is read once
		}
		t.linked[abs] = true
	}
	t.folders[rel] = true
	l.watchFolder(t, abs)
	entries, err := os.ReadDir(abs)
	if err != nil && (rel == "" || errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	if err != nil {
		t.partial = append(t.partial, rel+"/")
		t.faults = append(t.faults, manifests.Fault{File: rel + "/", Severity: manifests.Error, Text: plainError(err).Error()})
		return nil
	}
	for _, e := range entries {
		name, path := join(rel, e.Name()), filepath.Join(abs, e.Name())
		switch {
		case isHidden(e.Name()):
		case e.IsDir():
			_ = l.walk(t, name, path) // gone already: the watch on this folder tells
		case e.Type()&os.ModeSymlink != 0:
			l.follow(t, name, path)
		case isManifest(e.Name()):
			t.note(name, path)
		}
	}
	return nil
}

// watchFolder watches a folder by its real path.
func (l *loop) watchFolder(t *tree, abs string) {
	t.dirs[abs] = true
	if l.w == nil {
		return
	}
	if err := l.w.add(abs); isExhausted(err) {
		l.polling = watchProblem(err)
	}
}

// note notes a file at its real path.
func (t *tree) note(name, path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	t.seen[name] = stampOf(info)
	if own, _ := t.inside(path); own != name {
		t.targets[path] = append(t.targets[path], name)
	}
}
