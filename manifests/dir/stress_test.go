package dir

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"berth/manifests"
)

var (
	bursts   = flag.Int("bursts", 10, "how many bursts of changes each of the trees of TestAgreesWithTheDisk sees")
	treeSeed = flag.Uint64("treeseed", 0, "the seed of the first of them")
)

// Whatever happens to a directory, its folders, files and links, and to the way that leads to it, and however quickly: what is published last is
// what lies on the disk. Nothing but events tells the source in time: the next full walk is ten minutes away.
func TestAgreesWithTheDisk(t *testing.T) {
	roots := map[string]string{"plain": "root", "below folders": "x/y/root", "behind a link": "link", "behind links": "x/current/root"}
	for name, root := range roots {
		for n := range uint64(2) {
			t.Run(fmt.Sprintf("%s %d", name, *treeSeed+n), func(t *testing.T) {
				t.Parallel()
				v := newVandal(t, root, *treeSeed+n)
				w := watch(t, v.root)
				t.Cleanup(func() {
					if t.Failed() {
						t.Logf("on the disk:\n%s", picture(Read(v.root)))
					}
				})
				for i := range *bursts {
					from := len(v.done)
					for range 1 + v.rand.IntN(8) {
						v.change()
					}
					what := fmt.Sprintf("what is on the disk after burst %d:\n%s\n", i, strings.Join(v.done[from:], "\n"))
					w.until("as incomplete "+what, func(s manifests.Snapshot) bool { return slices.Equal(s.Incomplete, Read(v.root).Incomplete) })
					v.mend(Read(v.root).Incomplete)
					w.until(what, func(s manifests.Snapshot) bool { return picture(s) == picture(Read(v.root)) })
				}
			})
		}
	}
}

// picture is what a snapshot says.
func picture(s manifests.Snapshot) string {
	var all []string
	for _, o := range s.Objects {
		all = append(all, fmt.Sprintf("%s@%s", o.Key, o.Origin))
	}
	for _, f := range s.Faults {
		all = append(all, f.String())
	}
	for _, f := range s.Incomplete {
		all = append(all, "incomplete: "+f)
	}
	slices.SortFunc(all, cmp.Compare)
	return strings.Join(all, "\n")
}

// vandal changes a directory at random.
type vandal struct {
	t          *testing.T
	rand       *rand.Rand
	base, root string
	made       int
	done       []string
}

func newVandal(t *testing.T, root string, seed uint64) *vandal {
	t.Helper()
	v := &vandal{t: t, rand: rand.New(rand.NewPCG(seed, 0)), base: t.TempDir()}
	v.root = filepath.Join(v.base, root)
	switch root {
	case "link":
		v.link("real/up", "link")
	case "x/current/root":
		v.link("one", "x/current")
	}
	mustWrite(t, filepath.Join(v.root, "web.yaml"), deployment("web", 1))
	return v
}

func (v *vandal) link(to, at string) {
	v.t.Helper()
	at = filepath.Join(v.base, at)
	for _, dir := range []string{filepath.Dir(at), filepath.Join(filepath.Dir(at), to)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			v.t.Fatal(err)
		}
	}
	if err := os.Symlink(to, at); err != nil {
		v.t.Fatal(err)
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (v *vandal) folder() string {
	return pick(v.rand, "", "", "a", "a", "b", "a/c", "b/c", ".h", ".h/x", "a/.h", "..one", "..two", "d.yaml")
}

func (v *vandal) file() string {
	return filepath.Join(v.folder(), pick(v.rand, "web.yaml", "api.yaml", "d.yaml", ".hidden.yaml", "data"))
}

// thing is a file, a folder or a link.
func (v *vandal) thing() string {
	if v.rand.IntN(2) == 0 {
		return v.file()
	}
	return filepath.Join(v.folder(), pick(v.rand, "a", "b", "c", "..data", ".link", ".h"))
}

// change does one thing. Much of it fails, because what it is about is not there.
func (v *vandal) change() {
	at := func(name string) string { return filepath.Join(v.root, name) }
	switch v.rand.IntN(14) {
	case 0, 1, 2:
		name := v.file()
		v.note("write "+name, os.MkdirAll(filepath.Dir(at(name)), 0o755), os.WriteFile(at(name), v.text(), 0o644))
	case 3, 4:
		name := v.file()
		v.note("write beside and rename to "+name, os.WriteFile(at(".new"), v.text(), 0o644), os.Rename(at(".new"), at(name)))
	case 5, 6:
		from, to := v.thing(), v.thing()
		v.note("rename "+from+" to "+to, os.Rename(at(from), at(to)))
	case 7:
		name := v.folder()
		v.note("make "+name, os.MkdirAll(at(name), 0o755))
	case 8, 9:
		name := v.thing()
		v.note("remove "+name, os.RemoveAll(at(name)))
	case 10, 11:
		name, to := v.thing(), pick(v.rand, v.thing, v.folder)()
		to = pick(v.rand, filepath.Join(strings.Repeat("../", strings.Count(name, "/")), to), to, "..one", "..data/web.yaml", ".", "../..", at(to))
		v.note("link "+name+" to "+to, os.Symlink(to, at(".new")), os.Rename(at(".new"), at(name)))
		_ = os.RemoveAll(at(".new"))
	case 12:
		from, to := v.thing(), v.folder()
		v.note("away and back "+from, os.Rename(at(from), at(".away")), os.Rename(at(".away"), at(to)), os.Rename(at(".away"), at(from)))
		_ = os.RemoveAll(at(".away"))
	case 13:
		v.changeWay()
	}
}

// mend removes links that lead nowhere: what they stood for is remembered as long as they are there.
func (v *vandal) mend(incomplete []string) {
	for _, name := range incomplete {
		if name != "/" {
			v.note("remove the link "+name, os.Remove(filepath.Join(v.root, name)))
		}
	}
}

// changeWay changes what leads to the directory.
func (v *vandal) changeWay() {
	real := resolve(v.root)
	if !strings.HasPrefix(real, v.base+"/") {
		real = v.root
	}
	steps := strings.Split(strings.TrimPrefix(real, v.base+"/"), "/")
	some := filepath.Join(v.base, filepath.Join(steps[:1+v.rand.IntN(len(steps))]...))
	old := fmt.Sprintf("%s/old%d", v.base, v.made)
	v.made++
	switch v.rand.IntN(5) {
	case 0:
		v.note("move away "+some, os.Rename(some, old))
		v.note("make "+v.root, os.MkdirAll(resolve(v.root), 0o755), os.WriteFile(filepath.Join(v.root, "web.yaml"), v.text(), 0o644))
	case 1:
		v.note("there and back "+some, os.Rename(some, old), os.Rename(old, some))
	case 2:
		v.note("remove "+some, os.RemoveAll(some))
		v.note("make "+v.root, os.MkdirAll(resolve(v.root), 0o755), os.WriteFile(filepath.Join(v.root, "web.yaml"), v.text(), 0o644))
	case 3:
		v.note("a file for a moment "+some, os.Rename(some, old), os.WriteFile(some, nil, 0o644), os.Remove(some), os.Rename(old, some))
	case 4:
		v.note("exchange "+some, os.Rename(some, old), os.MkdirAll(resolve(v.root), 0o755), os.WriteFile(filepath.Join(v.root, "new.yaml"), v.text(), 0o644))
	}
}

func (v *vandal) text() []byte {
	v.made++
	return []byte(deployment(fmt.Sprintf("o%d", v.made), 1))
}

func (v *vandal) note(what string, errs ...error) {
	for _, err := range errs {
		if err != nil {
			what += fmt.Sprintf(" (%v)", err)
		}
	}
	v.done = append(v.done, what)
}
