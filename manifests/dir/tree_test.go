package dir

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/manifests"
)

func unavailable(s manifests.Snapshot) bool {
	return slices.Equal(s.Incomplete, []string{"/"}) && len(s.Faults) == 1 && strings.Contains(s.Faults[0].Text, "SourceUnavailable")
}

// Whatever happens to the directory itself is no wish to remove what it declared.
func TestRootGoesAndComesBack(t *testing.T) {
	away := map[string]func(t *testing.T, root string){
		"removed":            func(t *testing.T, root string) { mustRemove(t, root) },
		"moved":              func(t *testing.T, root string) { mustRename(t, root, root+".away") },
		"a file now":         func(t *testing.T, root string) { mustRemove(t, root); mustWrite(t, root, "x") },
		"parent removed too": func(t *testing.T, root string) { mustRemove(t, filepath.Dir(root)) },
	}
	for name, goAway := range away {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(t.TempDir(), "up", "manifests")
			mustWrite(t, filepath.Join(root, "web.yaml"), deployment("web", 3))
			w := watch(t, root)
			goAway(t, root)
			w.until("unavailable", unavailable)
			if err := os.Remove(root); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			mustWrite(t, filepath.Join(root, "web.yaml"), deployment("web", 4))
			w.until("back", replicas("web", 4))
			mustWrite(t, filepath.Join(root, "web.yaml"), deployment("web", 5))
			w.until("watched again", replicas("web", 5))
		})
	}
}

// What was missing before the directory went has its time again when it comes back: somebody is filling it.
func TestRootComesBackEmpty(t *testing.T) {
	root := filepath.Join(t.TempDir(), "manifests")
	mustWrite(t, filepath.Join(root, "web.yaml"), deployment("web", 3))
	w := watchStopped(t, root)
	mustRemove(t, filepath.Join(root, "web.yaml"))
	w.still(50 * time.Millisecond) // it is missed
	mustRemove(t, root)
	w.until("unavailable", unavailable)
	w.time.Step(time.Second)
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if s := w.until("back", func(s manifests.Snapshot) bool { return !unavailable(s) }); names(s) != "web" {
		t.Errorf("got %s", describe(s))
	}
	w.until("nothing", has(""))
}

func TestRootIsMissingAtFirst(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a/b/c")
	w := watch(t, root)
	w.until("unavailable", unavailable)
	mustWrite(t, filepath.Join(root, "web.yaml"), deployment("web", 1))
	w.until("there", has("web"))
}

func TestRootIsALinkThatIsSwapped(t *testing.T) {
	base := t.TempDir()
	mustWrite(t, filepath.Join(base, "one/web.yaml"), deployment("web", 1))
	mustWrite(t, filepath.Join(base, "two/web.yaml"), deployment("web", 2))
	root := filepath.Join(base, "current")
	if err := os.Symlink("one", root); err != nil {
		t.Fatal(err)
	}
	w := watch(t, root)
	w.until("one", replicas("web", 1))
	if err := os.Symlink("two", root+".new"); err != nil {
		t.Fatal(err)
	}
	mustRename(t, root+".new", root)
	w.until("two", replicas("web", 2))
	mustWrite(t, filepath.Join(base, "two/web.yaml"), deployment("web", 3))
	w.until("an edit behind the link", replicas("web", 3))
}

// Whatever leads to the directory may be exchanged: what it leads to now counts at once, and is watched.
func TestTheWayToTheRootChanges(t *testing.T) {
	link := func(t *testing.T, to, at string) {
		t.Helper()
		if err := os.Symlink(to, at+".new"); err != nil {
			t.Fatal(err)
		}
		mustRename(t, at+".new", at)
	}
	for name, c := range map[string]struct {
		links  map[string]string // made before
		root   string
		change func(t *testing.T, base string)
	}{
		"a link on the way is swapped": {map[string]string{"current": "one"}, "current/manifests", func(t *testing.T, base string) {
			link(t, "two", filepath.Join(base, "current"))
		}},
		"a link behind a link is swapped": {map[string]string{"current": "one", "app": "./x/../current"}, "app/manifests", func(t *testing.T, base string) {
			link(t, "two", filepath.Join(base, "current"))
		}},
		"what a link leads to is moved, and another takes its name": {map[string]string{"root": "one/manifests"}, "root", func(t *testing.T, base string) {
			mustRename(t, filepath.Join(base, "one/manifests"), filepath.Join(base, "one/old"))
			mustRename(t, filepath.Join(base, "two/manifests"), filepath.Join(base, "one/manifests"))
		}},
		"what a link leads to is moved with its parent": {map[string]string{"root": "one/manifests"}, "root", func(t *testing.T, base string) {
			mustRename(t, filepath.Join(base, "one"), filepath.Join(base, "old"))
			mustRename(t, filepath.Join(base, "two"), filepath.Join(base, "one"))
		}},
		"a folder above is moved, and another takes its name": {nil, "one/manifests", func(t *testing.T, base string) {
			mustRename(t, filepath.Join(base, "one"), filepath.Join(base, "old"))
			mustRename(t, filepath.Join(base, "two"), filepath.Join(base, "one"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := t.TempDir()
			mustWrite(t, filepath.Join(base, "one/manifests/web.yaml"), deployment("web", 1))
			mustWrite(t, filepath.Join(base, "two/manifests/web.yaml"), deployment("web", 2))
			mustWrite(t, filepath.Join(base, "x/y"), "")
			for at, to := range c.links {
				link(t, to, filepath.Join(base, at))
			}
			root := filepath.Join(base, c.root)
			w := watch(t, root)
			w.until("what is there", replicas("web", 1))
			c.change(t, base)
			w.until("the other", replicas("web", 2))
			mustWrite(t, filepath.Join(root, "web.yaml"), deployment("web", 3))
			w.until("an edit", replicas("web", 3))
			mustRename(t, filepath.Join(root, "web.yaml"), filepath.Join(root, "api.yaml"))
			w.until("its new name", func(s manifests.Snapshot) bool { return len(s.Objects) == 1 && s.Objects[0].Origin.File == "api.yaml" })
		})
	}
}

// What a link to the directory leads to goes, and comes back.
func TestRootBehindALinkGoesAndComesBack(t *testing.T) {
	base := t.TempDir()
	mustWrite(t, filepath.Join(base, "real/up/web.yaml"), deployment("web", 1))
	root := filepath.Join(base, "root")
	if err := os.Symlink("real/up", root); err != nil {
		t.Fatal(err)
	}
	w := watch(t, root)
	for i := range int32(20) {
		mustRename(t, filepath.Join(base, "real"), fmt.Sprintf("%s/old%d", base, i))
		w.until("unavailable", unavailable)
		mustWrite(t, filepath.Join(base, "real/up/web.yaml"), deployment("web", int(i)+2))
		w.until("back", replicas("web", i+2))
	}
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	mustWrite(t, filepath.Join(dir, "sub/deep/api.yaml"), deployment("api", 1))
	w := watch(t, dir)
	mustRemove(t, w.path("sub"))
	w.until("without", has("web"))
	mustWrite(t, w.path("sub/deep/api.yaml"), deployment("api", 2))
	w.until("made again", replicas("api", 2))
	mustWrite(t, w.path("sub/deep/api.yaml"), deployment("api", 3))
	w.until("an edit in the new one", replicas("api", 3))
	mustRename(t, w.path("sub/deep"), w.path("other"))
	w.until("moved", func(s manifests.Snapshot) bool {
		return names(s) == "api web" && s.Objects[0].Origin.File == "other/api.yaml"
	})
	mustWrite(t, w.path("other/api.yaml"), deployment("api", 4))
	w.until("an edit in the moved one", replicas("api", 4))
}

// Nothing in the directory can make the source hang or read without end.
func TestOddEntries(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	mustWrite(t, filepath.Join(dir, "new\nline.yaml"), deployment("newline", 1))
	mustWrite(t, filepath.Join(dir, "\x1b[31mred.yaml"), "kind: [")
	mustWrite(t, filepath.Join(dir, "folder.yaml/in.yaml"), deployment("in", 1))
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for link, target := range map[string]string{"zero.yaml": "/dev/zero", "loop.yaml": "loop.yaml", "gone.yaml": "missing.yaml", "up": "..", "same.yaml": "web.yaml", "self": "."} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s := watch(t, dir).until("all", has("in newline web"))
	for _, want := range []string{"fifo.yaml: warning: is not a regular file", "s.yaml: warning: ", "zero.yaml: warning: is a link that leaves", "loop.yaml: warning", "gone.yaml: warning: is a link that leads nowhere"} {
		if !slices.ContainsFunc(s.Faults, func(f manifests.Fault) bool { return strings.HasPrefix(f.String(), want) }) {
			t.Errorf("no fault %q in %v", want, s.Faults)
		}
	}
	for _, f := range s.Faults {
		if strings.ContainsAny(f.String(), "\n\x1b") {
			t.Errorf("a fault that paints the terminal: %q", f)
		}
	}
	mustRemove(t, filepath.Join(dir, "fifo.yaml"))
}

// What empties or breaks a file takes nothing away.
func TestBrokenFiles(t *testing.T) {
	broken := map[string]string{
		"empty": "", "zero bytes": strings.Repeat("\x00", 4096), "a lone separator": "---\n", "no YAML": "kind: [",
		"cut": deployment("web", 1)[:80], "blanks": "\n \n", "binary": "\x7fELF\x02\x01\x01\x00\x00",
	}
	for name, text := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
			mustWrite(t, filepath.Join(dir, "other.yaml"), deployment("other", 1))
			w := watch(t, dir)
			mustWrite(t, w.path("web.yaml"), text)
			s := w.until("incomplete", func(s manifests.Snapshot) bool { return slices.Equal(s.Incomplete, []string{"web.yaml"}) })
			if names(s) != "other" || len(s.Faults) == 0 {
				t.Errorf("got %s", describe(s))
			}
			mustWrite(t, w.path("x.yaml"), deployment("web", 9))
			w.until("a copy does not take over", func(s manifests.Snapshot) bool {
				return names(s) == "other" && slices.ContainsFunc(s.Faults, func(f manifests.Fault) bool { return strings.Contains(f.Text, "declared twice") })
			})
			mustWrite(t, w.path("web.yaml"), deployment("web", 2))
			w.until("repaired", replicas("web", 2))
		})
	}
}

// Emptied on purpose: comments say so.
func TestOnlyComments(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 1))
	w := watch(t, dir)
	mustWrite(t, w.path("web.yaml"), "# nothing for now\n")
	s := w.until("nothing", has(""))
	if len(s.Incomplete) > 0 {
		t.Errorf("got %s", describe(s))
	}
}

func mustRemove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// A document that breaks does not take the others of its file along.
func TestOneBrokenDocument(t *testing.T) {
	dir := t.TempDir()
	both := deployment("api", 1) + "---\n" + deployment("web", 1)
	mustWrite(t, filepath.Join(dir, "all.yaml"), both)
	w := watch(t, dir)
	mustWrite(t, w.path("all.yaml"), strings.Replace(both, "replicas: 1", "replicas: -1", 1))
	s := w.until("only web", has("web"))
	if !slices.Equal(s.Incomplete, []string{"all.yaml"}) || len(s.Faults) != 1 || s.Faults[0].Line != 6 {
		t.Errorf("got %s", describe(s))
	}
	mustWrite(t, w.path("all.yaml"), strings.Replace(both, "replicas: 1", "replicas: 2", 1))
	w.until("repaired", func(s manifests.Snapshot) bool { return names(s) == "api web" && replicas("api", 2)(s) })
}
