package dir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"berth/manifests"
)

// follow decides about a link: outside is not ours, inside is read at its own place, unless that place is hidden.
func (l *loop) follow(t *tree, name, path string) {
	l.watchSteps(t, path)
	wanted := isManifest(filepath.Base(path))
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
	inside, ok := t.inside(target)
	if !ok {
		t.faults = append(t.faults, manifests.Fault{
			File: name, Severity: manifests.Warning, Text: "is a link that leaves the directory: it is not followed",
			Remedy: "put the file itself here",
		})
		return
	}
	switch {
	case inside == "" || !slices.ContainsFunc(strings.Split(inside, "/"), isHidden) && (info.IsDir() || isManifest(filepath.Base(inside))):
		// it is read where it lies
	case info.IsDir():
		_ = l.walk(t, name, target) // gone already: the watch on its place tells
	default:
		t.note(name, target)
	}
}

// watchSteps watches all that a link leads through, as far as it lies in the directory: the link, those behind it, hidden folders, its end, and the place
// of what is not there.
func (l *loop) watchSteps(t *tree, path string) {
	stepsTo(filepath.Dir(path), filepath.Base(path), func(step string) {
		at := filepath.Dir(step)
		if _, ok := t.inside(at); !ok {
			return
		}
		t.anchors[step] = true
		if !t.dirs[at] {
			l.watchFolder(t, at)
		}
	})
}
