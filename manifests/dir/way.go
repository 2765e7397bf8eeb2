package dir

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxLinks is how many links the kernel follows on one way.
const maxLinks = 40

// way is what a look along a path finds.
type way struct {
	steps   []step // all that is there
	end     string // the real path, as far as it is there: then the first name that is not
	problem string // why it leads to no directory that can be read, "" when it does
	id      stamp  // of the directory
}

// step is a name on a way.
type step struct {
	path string // its folder's real path, and the name
	id   inode
	to   string // what a link says, "" when it is none
}

func (w way) is(o way) bool {
	return w.end == o.end && w.problem == o.problem && slices.Equal(w.steps, o.steps)
}

// openRoot watches the way to the directory, and its place when it is not there, and returns what is wrong with it, "" when it can be read. A look
// counts when the next one, with the watches standing, finds the same: what changed between a look and its watch tells nobody.
func (l *loop) openRoot(t *tree) string {
	found := lookAlong(t.root)
	for range 100 { // who changes the way as often as that is heard by then
		if l.w == nil {
			break
		}
		for _, s := range found.steps {
			if s.to != "" {
				l.anchor(t, s.path) // a swapped link says nothing to the watch on its target
			}
		}
		if l.w.above(found.end); found.problem != "" {
			l.anchor(t, found.end)
		}
		again := lookAlong(t.root)
		if again.is(found) {
			break
		}
		found = again
	}
	if found.problem == "" {
		t.real, t.id, t.gitDir = found.end, found.id, gitDir(found.end)
	}
	return found.problem
}

// lookAlong looks at the way to a directory, and at the directory.
func lookAlong(root string) way {
	w := stepsTo("/", root, func(string) {})
	info, err := os.Stat(root)
	if err == nil && !info.IsDir() {
		w.problem = "is not a directory"
		return w
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(root)
	}
	if err != nil {
		w.problem = plainError(err).Error()
		return w
	}
	_ = f.Close()
	w.id = stampOf(info)
	return w
}

// stepsTo follows a path from a folder whose real path is known. Each name on the way is visited before it is looked at.
func stepsTo(at, path string, visit func(path string)) way {
	var w way
	names := strings.Split(path, "/")
	for links := 0; len(names) > 0; {
		next := filepath.Join(at, names[0])
		names = names[1:]
		if next == at || next == filepath.Dir(at) { // "", "." and ".."
			at = next
			continue
		}
		visit(next)
		info, err := os.Lstat(next)
		if err != nil {
			w.end = next
			return w
		}
		st := stampOf(info)
		s := step{path: next, id: inode{st.dev, st.ino}}
		if info.Mode()&os.ModeSymlink == 0 {
			w.steps = append(w.steps, s)
			at = next
			continue
		}
		if s.to, err = os.Readlink(next); err != nil {
			w.end = next
			return w
		}
		w.steps = append(w.steps, s)
		if links++; links > maxLinks {
			w.end = next
			return w
		}
		if filepath.IsAbs(s.to) {
			at = "/"
		}
		names = append(strings.Split(s.to, "/"), names...)
	}
	w.end = at
	return w
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
