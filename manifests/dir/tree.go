package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"berth/manifests"
)

// maxLinks is how many links the kernel follows on one way.
const maxLinks = 40

// tree is what the last walk found, besides files.
type tree struct {
	root     string // absolute, as given
	real     string // with its links followed
	end      end    // of the way to real
	id       stamp  // of the root: another one means another directory
	fault    *manifests.Fault
	faults   []manifests.Fault   // links, folders
	partial  []string            // folders that could not be read, ended by a slash
	links    map[string]bool     // links to folders, below the root
	linkDirs map[string]bool     // hidden folders that links lead to
	targets  map[string][]string // files in them, and the links that lead there
	anchors  map[string]bool     // paths outside whose change means a walk
	gitDir   string
	seen     map[string]stamp
	dirs     map[string]bool // absolute paths that were walked
}

// end is how far a way goes: as far as it is there, and the first name that is not.
type end struct {
	path  string
	whole bool // all of it is there
}

// rel is the path below the root, with forward slashes, "" for the root.
func (t *tree) rel(abs string) (string, bool) {
	if t.linkDirs[abs] {
		return "", true
	}
	if abs == t.root {
		return "", true
	}
	rest, ok := strings.CutPrefix(abs, strings.TrimSuffix(t.root, "/")+"/")
	return filepath.ToSlash(rest), ok
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
	before := l.tree
	t := tree{root: l.src.path, links: map[string]bool{}, linkDirs: map[string]bool{}, targets: map[string][]string{}, anchors: map[string]bool{}, seen: map[string]stamp{}, dirs: map[string]bool{}}
	problem := l.openRoot(&t)
	if problem == "" {
		l.polling = ""
		if l.w == nil && !l.once {
			l.polling = "the kernel gives no watches (fs.inotify.max_user_instances): the directory is read every few seconds instead"
		}
		if remote(t.root) {
			l.polling = "is on a network file system, whose changes the kernel does not report: the directory is read every few seconds"
		}
		l.walk(&t, "", t.root)
		if before.id.dev != 0 && before.id.dev != t.id.dev && len(t.seen) == 0 && len(l.files) > 0 {
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

// hides reports whether a file lies in a folder that cannot be read now.
func (t *tree) hides(name string) bool {
	return slices.ContainsFunc(t.partial, func(dir string) bool { return strings.HasPrefix(name, dir) })
}

// openRoot checks the directory itself and watches it. It returns what is wrong with it, "" when it can be read.
func (l *loop) openRoot(t *tree) string {
	t.end = l.anchorLinks(t)
	info, err := os.Stat(t.root)
	switch {
	case err != nil:
		return plainError(err).Error()
	case !info.IsDir():
		return "is not a directory"
	}
	t.id = stampOf(info)
	if t.real, err = filepath.EvalSymlinks(t.root); err != nil {
		return plainError(err).Error()
	}
	f, err := os.Open(t.root)
	if err != nil {
		return plainError(err).Error()
	}
	_ = f.Close()
	if l.w != nil {
		l.w.above(t.real)
	}
	t.gitDir = gitDir(t.real)
	return ""
}

// gitDir is the .git folder that dir belongs to, "" when there is none.
func gitDir(dir string) string {
	for {
		at := filepath.Join(dir, ".git")
		if info, err := os.Stat(at); err == nil && info.IsDir() {
			return at
		} else if err == nil && info.Mode().IsRegular() && info.Size() < 4096 { // a worktree or submodule: gitdir: PATH
			text, _ := os.ReadFile(at)
			if to, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir: "); ok && filepath.IsAbs(to) {
				return to
			}
			return ""
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
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
	t.fault = fault
	l.anchor(t, t.end.path)
	l.tree = *t
	clear(l.dirty)
	clear(l.pending)
	if l.w == nil || l.polling != "" {
		l.passAt = l.src.clock.Now().Add(l.src.poll)
	} else if l.anchorLinks(t) != t.end {
		l.passAt = l.src.clock.Now() // the way grew before its end was watched
	}
}

// anchorLinks watches the folder of each link on the way to the root: a swapped link says nothing to the watch on its target. It returns where the way ends.
func (l *loop) anchorLinks(t *tree) end {
	at, names := "/", strings.Split(t.root, "/")
	for links := 0; len(names) > 0; {
		next := filepath.Join(at, names[0])
		info, err := os.Lstat(next)
		if err != nil {
			return end{path: next}
		}
		names = names[1:]
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		l.anchor(t, next)
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return end{path: next}
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return end{at, true}
}

// anchor watches the nearest folder above path that exists, for the next step down the path.
func (l *loop) anchor(t *tree, path string) {
	if l.w == nil {
		return
	}
	again := 3 // what is there and cannot be watched must not hold us up
	for child := path; ; {
		dir := filepath.Dir(child)
		if err := l.w.add(dir); err == nil {
			t.anchors[child], t.dirs[dir] = true, true
			if _, err := os.Lstat(child); err == nil && child != path && again > 0 {
				child = path // it came while we looked: go down again
				again--
				continue
			}
			return
		} else if isExhausted(err) {
			l.polling = watchProblem(err)
			return
		}
		if dir == child {
			return
		}
		child = dir
	}
}

// walk reads one folder: first the watch, then the list, so that nothing falls between.
func (l *loop) walk(t *tree, rel, abs string) {
	t.dirs[abs] = true
	if l.w != nil {
		if err := l.w.add(abs); isExhausted(err) {
			l.polling = watchProblem(err)
		}
	}
	entries, err := os.ReadDir(abs)
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.partial = append(t.partial, rel+"/")
		t.faults = append(t.faults, manifests.Fault{File: rel + "/", Severity: manifests.Error, Text: plainError(err).Error()})
		return
	}
	for _, e := range entries {
		name, path := join(rel, e.Name()), filepath.Join(abs, e.Name())
		switch {
		case isHidden(e.Name()):
		case e.IsDir():
			l.walk(t, name, path)
		case e.Type()&os.ModeSymlink != 0:
			l.follow(t, name, path)
		case isManifest(e.Name()):
			t.note(name, path)
		}
	}
}

func (t *tree) note(name, path string) {
	if info, err := os.Stat(path); err == nil {
		t.seen[name] = stampOf(info)
	}
}

// follow decides about a link: outside is not ours, inside is read at its own place, unless that place is hidden.
func (l *loop) follow(t *tree, name, path string) {
	wanted := isManifest(name[strings.LastIndexByte(name, '/')+1:])
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		if wanted {
			t.faults = append(t.faults, manifests.Fault{File: name, Severity: manifests.Warning, Text: fmt.Sprintf("is a link that leads nowhere: %v", plainError(err))})
			t.partial = append(t.partial, name)
		}
		return
	}
	info, err := os.Stat(target)
	if err != nil || !info.IsDir() && !wanted {
		return
	}
	inside, err := filepath.Rel(t.real, target)
	if err != nil || inside == ".." || strings.HasPrefix(inside, "../") {
		t.faults = append(t.faults, manifests.Fault{
			File: name, Severity: manifests.Warning, Text: "is a link that leaves the directory: it is not followed",
			Remedy: "put the file itself here",
		})
		return
	}
	if inside == "." || !slices.ContainsFunc(strings.Split(inside, "/"), isHidden) && (info.IsDir() || isManifest(filepath.Base(inside))) {
		return // it is read where it lies
	}
	if info.IsDir() {
		t.links[name] = true
		l.walk(t, name, path)
		return
	}
	at := filepath.Dir(target)
	if l.w != nil && at != t.real {
		if err := l.w.add(at); err == nil {
			t.linkDirs[at], t.dirs[at] = true, true
			t.targets[target] = append(t.targets[target], name)
		}
	}
	t.seen[name] = stampOf(info)
}

// remote reports whether a file system changes without this kernel's doing, so that there are no events for it.
func remote(path string) bool {
	const nfs, smb, smb2, cifs, v9fs, fuse, ceph, afs = 0x6969, 0x517b, 0xfe534d42, 0xff534d42, 0x01021997, 0x65735546, 0x00c36400, 0x5346414f
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return false
	}
	switch uint32(st.Type) { //nolint:gosec // the magic numbers have 32 bits
	case nfs, smb, smb2, cifs, v9fs, fuse, ceph, afs:
		return true
	}
	return false
}
