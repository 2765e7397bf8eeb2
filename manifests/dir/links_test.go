package dir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/manifests"
)

// What links lead to is read once, at the name of the link where its own is hidden, and an edit there is seen at once, like one of the links themselves.
func TestLinks(t *testing.T) {
	type files map[string]string // a text without a colon is where a link leads
	write := func(t *testing.T, dir string, all files) {
		t.Helper()
		for name, text := range all {
			at := filepath.Join(dir, name)
			if strings.Contains(text, ":") {
				mustWrite(t, at, text)
				continue
			}
			if err := os.Symlink(text, at+".new"); err != nil {
				t.Fatal(err)
			}
			mustRename(t, at+".new", at)
		}
	}
	at := func(all ...string) func(manifests.Snapshot) bool {
		return func(s manifests.Snapshot) bool {
			var found []string
			for _, o := range s.Objects {
				found = append(found, o.Key.Name+"@"+o.Origin.File)
			}
			return strings.Join(found, " ") == strings.Join(all, " ") && len(s.Faults)+len(s.Incomplete) == 0
		}
	}
	for name, c := range map[string]struct {
		before files
		first  []string
		change func(t *testing.T, dir string)
		then   []string
	}{
		"a folder moves and leaves a link": {
			files{"sub/web.yaml": deployment("web", 1)},
			[]string{"web@sub/web.yaml"},
			func(t *testing.T, dir string) {
				mustRename(t, filepath.Join(dir, "sub"), filepath.Join(dir, "other"))
				write(t, dir, files{"sub": "other"})
			},
			[]string{"web@other/web.yaml"},
		},
		"a folder takes the name of a file": {
			files{"web.yaml": deployment("web", 1)},
			[]string{"web@web.yaml"},
			func(t *testing.T, dir string) {
				mustRemove(t, filepath.Join(dir, "web.yaml"))
				write(t, dir, files{"web.yaml/api.yaml": deployment("api", 1)})
			},
			[]string{"api@web.yaml/api.yaml"},
		},
		"a hidden file beside its link": {
			files{".real": deployment("web", 1), "web.yaml": ".real"},
			[]string{"web@web.yaml"},
			func(t *testing.T, dir string) { write(t, dir, files{".real": deployment("api", 1)}) },
			[]string{"api@web.yaml"},
		},
		"a neighbour of a hidden file with a link": {
			files{"sub/.real": deployment("web", 1), "web.yaml": "sub/.real", "sub/api.yaml": deployment("api", 1)},
			[]string{"api@sub/api.yaml", "web@web.yaml"},
			func(t *testing.T, dir string) { write(t, dir, files{"sub/api.yaml": deployment("new", 1)}) },
			[]string{"new@sub/api.yaml", "web@web.yaml"},
		},
		"two links to one hidden folder": {
			files{".h/web.yaml": deployment("web", 1), "one": ".h", "two": ".h"},
			[]string{"web@one/web.yaml"},
			func(t *testing.T, dir string) { write(t, dir, files{".h/web.yaml": deployment("api", 1)}) },
			[]string{"api@one/web.yaml"},
		},
		"hidden folders with links to each other": {
			files{".h/web.yaml": deployment("web", 1), ".h/b": "../.i", ".h/self": ".", ".i/api.yaml": deployment("api", 1), ".i/b": "../.h", "a": ".h"},
			[]string{"api@a/b/api.yaml", "web@a/web.yaml"},
			func(t *testing.T, dir string) { write(t, dir, files{".i/api.yaml": deployment("new", 1)}) },
			[]string{"new@a/b/api.yaml", "web@a/web.yaml"},
		},
		"a new file in a hidden folder": {
			files{".h/web.yaml": deployment("web", 1), "sub": ".h"},
			[]string{"web@sub/web.yaml"},
			func(t *testing.T, dir string) { write(t, dir, files{".h/api.yaml": deployment("api", 1)}) },
			[]string{"api@sub/api.yaml", "web@sub/web.yaml"},
		},
		"a hidden link is swapped": {
			files{".one/web.yaml": deployment("web", 1), ".two/web.yaml": deployment("api", 1), ".current": ".one", "web.yaml": ".current/web.yaml"},
			[]string{"web@web.yaml"},
			func(t *testing.T, dir string) { write(t, dir, files{".current": ".two"}) },
			[]string{"api@web.yaml"},
		},
		"a link in a hidden folder is swapped": {
			files{".h/one/web.yaml": deployment("web", 1), ".h/two/web.yaml": deployment("api", 1), ".h/current": "one", "sub": ".h/current"},
			[]string{"web@sub/web.yaml"},
			func(t *testing.T, dir string) { write(t, dir, files{".h/current": "two"}) },
			[]string{"api@sub/web.yaml"},
		},
		"a hidden folder is made anew": {
			files{".h/x/web.yaml": deployment("web", 1), "sub": ".h/x"},
			[]string{"web@sub/web.yaml"},
			func(t *testing.T, dir string) {
				mustRename(t, filepath.Join(dir, ".h"), filepath.Join(dir, ".old"))
				write(t, dir, files{".h/x/web.yaml": deployment("api", 1)})
			},
			[]string{"api@sub/web.yaml"},
		},
		"a link was there before its end": {
			files{"web.yaml": deployment("web", 1)},
			[]string{"web@web.yaml"},
			func(t *testing.T, dir string) {
				write(t, dir, files{"new.yaml": "api.yaml"})
				write(t, dir, files{"api.yaml": deployment("api", 1)})
			},
			[]string{"api@api.yaml", "web@web.yaml"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, links := range []bool{false, true} { // what they lead to first
				for name, text := range c.before {
					if links != strings.Contains(text, ":") {
						write(t, dir, files{name: text})
					}
				}
			}
			w := watch(t, dir)
			w.until("what is there", at(c.first...))
			c.change(t, dir)
			w.until("what is there then", at(c.then...))
		})
	}
}
