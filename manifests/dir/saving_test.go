package dir

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/manifests"
)

// neverLost fails when any snapshot since from lacks web as a good object or as one that is not known to be gone.
func (w *watched) neverLost(from int, file string) {
	w.t.Helper()
	for _, s := range w.snapshots()[from:] {
		if !strings.Contains(names(s), "web") && !strings.Contains(strings.Join(s.Incomplete, " "), file) {
			w.t.Errorf("web was gone for a moment: %s", describe(s))
		}
	}
}

// Each way of saving web.yaml with five replicas in the place of three: one update, and never a moment without web.
func TestWaysOfSaving(t *testing.T) {
	sh := func(script string) func(*watched) {
		return func(w *watched) {
			cmd := exec.Command("sh", "-ec", script)
			cmd.Dir = w.dir
			cmd.Env = append(os.Environ(), "NEW="+deployment("web", 5))
			if out, err := cmd.CombinedOutput(); err != nil {
				w.t.Fatalf("%s: %v: %s", script, err, out)
			}
		}
	}
	ways := map[string]func(*watched){
		"truncate and write":                func(w *watched) { mustWrite(w.t, w.path("web.yaml"), deployment("web", 5)) },
		"shell redirection":                 sh(`printf '%s' "$NEW" > web.yaml`),
		"sed -i":                            sh(`sed -i 's/replicas: 3/replicas: 5/' web.yaml`),
		"cp":                                sh(`printf '%s' "$NEW" > .tmp; cp .tmp web.yaml`),
		"cp --remove-destination":           sh(`printf '%s' "$NEW" > .tmp; cp --remove-destination .tmp web.yaml`),
		"write and rename":                  sh(`printf '%s' "$NEW" > .web.yaml.AbC123; mv .web.yaml.AbC123 web.yaml`),
		"vim: probe, backup, write, delete": sh(`: > 4913; rm 4913; mv web.yaml web.yaml~; printf '%s' "$NEW" > web.yaml; chmod 644 web.yaml; rm web.yaml~`),
		"emacs: lock link, backup copy":     sh(`ln -s me@host.1 .#web.yaml; cp web.yaml web.yaml~; printf '%s' "$NEW" > web.yaml; rm .#web.yaml`),
		"delete and write anew":             sh(`rm web.yaml; printf '%s' "$NEW" > web.yaml`),
		"hard link swap":                    sh(`printf '%s' "$NEW" > .t; ln -f .t web.yaml`),
		"tee":                               sh(`printf '%s' "$NEW" | tee web.yaml > /dev/null`),
		"dd, block by block":                sh(`printf '%s' "$NEW" > .t; dd if=.t of=web.yaml bs=7 2>/dev/null`),
		"byte by byte": func(w *watched) {
			f, err := os.OpenFile(w.path("web.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				w.t.Fatal(err)
			}
			for _, b := range []byte(deployment("web", 5)) {
				if _, err := f.Write([]byte{b}); err != nil {
					w.t.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				w.t.Fatal(err)
			}
		},
	}
	for name, save := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 3))
			w := watchStopped(t, dir)
			w.until("three replicas", replicas("web", 3)) // a child that another test forks may hold the file open for a moment
			from := len(w.snapshots())
			save(w)
			w.until("five replicas", replicas("web", 5))
			w.time.Step(damageDelay + quiet)
			w.still(damageDelay + quiet)
			w.neverLost(from, "web.yaml")
			if n := len(w.snapshots()) - from; n != 1 {
				t.Errorf("%d snapshots for one save: %v", n, w.snapshots()[from:])
			}
		})
	}
}

// A writer that takes its time is never seen half-done, however valid the half is.
func TestHalfWritten(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "web.yaml"), deployment("web", 3))
	w := watch(t, dir)
	f, err := os.OpenFile(w.path("web.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := deployment("web", 7) + "---\n" + deployment("api", 1)
	if _, err := f.WriteString(text[:len(deployment("web", 7))]); err != nil {
		t.Fatal(err)
	}
	w.still(600 * time.Millisecond) // longer than all of the source's own delays
	if _, err := f.WriteString(text[len(deployment("web", 7)):]); err != nil {
		t.Fatal(err)
	}
	w.still(100 * time.Millisecond)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w.until("both", has("api web"))
}

// A file that is open for writing when the source starts is not known yet, and so nothing of it is known to be gone.
func TestBusyAtStart(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := watch(t, dir)
	s := w.snapshots()[0]
	if len(s.Incomplete) != 1 || s.Incomplete[0] != "web.yaml" {
		t.Errorf("got %s", describe(s))
	}
	if _, err := f.WriteString(deployment("web", 2)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w.until("web", replicas("web", 2))
}

func TestManyFilesAtOnce(t *testing.T) {
	w := watch(t, t.TempDir())
	const n = 500
	began := time.Now()
	for i := range n {
		mustWrite(t, w.path(fmt.Sprintf("sub%d/web-%03d.yaml", i%20, i)), deployment(fmt.Sprintf("web-%03d", i), 1))
	}
	w.until("all", func(s manifests.Snapshot) bool { return len(s.Objects) == n })
	if got, limit := len(w.snapshots()), int(time.Since(began)/quiet)+5; got > limit {
		t.Errorf("%d snapshots for one batch, more than %d", got, limit)
	}
}

func TestGitCheckout(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed: the checkout of many files is not tested")
	}
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	write := func(replicas int) {
		for i := range 500 {
			mustWrite(t, filepath.Join(dir, fmt.Sprintf("web-%03d.yaml", i)), deployment(fmt.Sprintf("web-%03d", i), replicas))
		}
	}
	git("init", "-q")
	write(1)
	git("add", ".")
	git("commit", "-qm", "one")
	git("checkout", "-qb", "two")
	write(2)
	git("commit", "-qam", "two")
	w := watch(t, dir)
	from := len(w.snapshots())
	began := time.Now()
	git("checkout", "-q", "main")
	w.until("the other branch", replicas("web-499", 1))
	w.until("all of it", replicas("web-000", 1))
	for _, s := range w.snapshots()[from:] {
		if len(s.Objects) != 500 {
			t.Errorf("a snapshot with %d objects", len(s.Objects))
		}
	}
	if n, limit := len(w.snapshots())-from, 3+int(time.Since(began)/gitPatience); n > limit {
		t.Errorf("%d snapshots for one checkout, more than %d", n, limit)
	}
}

// The way a mounted ConfigMap changes: files are links through ..data, which is swapped.
func TestDataSwap(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "..one/web.yaml"), deployment("web", 1))
	mustWrite(t, filepath.Join(dir, "..two/web.yaml"), deployment("web", 2))
	for link, target := range map[string]string{"..data": "..one", "web.yaml": "..data/web.yaml"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	w := watch(t, dir)
	w.until("one", replicas("web", 1))
	for i := range 6 {
		target := []string{"..two", "..one"}[i%2]
		if err := os.Symlink(target, w.path("..data_tmp")); err != nil {
			t.Fatal(err)
		}
		mustRename(t, w.path("..data_tmp"), w.path("..data"))
		w.until(target, replicas("web", int32(2-i%2)))
	}
	w.neverLost(0, "web.yaml")
}
