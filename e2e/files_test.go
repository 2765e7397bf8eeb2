package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/e2e/harness"
	"berth/e2e/images"
)

// samePIDs returns a check that these pods still run as these processes.
func samePIDs(b *harness.Berth, prefix string, want map[string]int) func() error {
	return func() error {
		for name, pid := range want {
			if !harness.Running(pid) {
				return fmt.Errorf("%s, process %d, has ended", name, pid)
			}
		}
		s, err := b.Look()
		if err != nil {
			return err
		}
		if now := harness.PIDs(s.PodsOf(prefix)); !maps.Equal(now, want) {
			return fmt.Errorf("%v, was %v", now, want)
		}
		return nil
	}
}

// gone is the absence of pods and of their processes.
func gone(b *harness.Berth, prefix string, pids map[string]int) {
	b.Helper()
	b.UntilStatus(prefix+" to be gone", func(s harness.Status) error {
		if pods := s.PodsOf(prefix); len(pods) > 0 {
			return fmt.Errorf("%d pods", len(pods))
		}
		for name, pid := range pids {
			if harness.Running(pid) {
				return fmt.Errorf("%s: process %d runs", name, pid)
			}
		}
		return nil
	})
}

func faultIn(s harness.Status, file string) (harness.Fault, error) {
	for _, f := range s.Faults {
		if strings.HasSuffix(f.File, file) && f.Severity == "error" {
			return f, nil
		}
	}
	return harness.Fault{}, fmt.Errorf("no fault of %s in %+v", file, s.Faults)
}

// What leaves the directory goes, in any depth of it.
func TestDeletedFile(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("keep.yaml", deployment("keep", 1, run("web")).String())
	b.Write("deep/er/web.yaml", deployment("web", 2, run("web")).String())
	b.Up()
	kept := harness.PIDs(b.UntilReady("keep-", 1))
	pids := harness.PIDs(b.UntilReady("web-", 2))
	if err := os.RemoveAll(filepath.Join(b.Manifests, "deep")); err != nil {
		t.Fatal(err)
	}
	gone(b, "web-", pids)
	if err := samePIDs(b, "keep-", kept)(); err != nil {
		t.Error(err)
	}
}

// A file that is wrong hurts nobody: what it declared before goes on, the rest too, and one line says what is wrong where.
func TestBadFile(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	good := deployment("web", 2, run("web")).String()
	b.Write("web.yaml", good)
	up := b.Up()
	pids := harness.PIDs(b.UntilReady("web-", 2))
	for name, tc := range map[string]struct {
		content string
		line    int
	}{
		"broken YAML":   {strings.Replace(good, "spec:\n", "spec: [\n", 1), 0},
		"wrong type":    {strings.Replace(good, "replicas: 2", "replicas: two", 1), 5},
		"unknown field": {strings.Replace(good, "replicas: 2", "replicsa: 2", 1), 5},
		"bad value":     {strings.Replace(good, "replicas: 2", "replicas: -2", 1), 5},
		"empty":         {"", 0},
		"only NUL":      {strings.Repeat("\x00", len(good)), 0},
		"truncated":     {good[:len(good)/2], 0},
		"one separator": {"---\n", 0},
	} {
		b.Write("web.yaml", tc.content)
		s := b.UntilStatus(name+" to be reported", func(s harness.Status) error {
			f, err := faultIn(s, "web.yaml")
			if err != nil && (name == "empty" || name == "only NUL" || name == "one separator") {
				for _, w := range s.Faults {
					if strings.HasSuffix(w.File, "web.yaml") {
						return nil // a warning is enough for a file without objects
					}
				}
			}
			if err == nil && tc.line > 0 && f.Line != tc.line {
				return fmt.Errorf("line %d, want %d: %s", f.Line, tc.line, f.Text)
			}
			return err
		})
		if len(s.Faults) == 0 {
			t.Errorf("%s: no fault", name)
		}
		if err := samePIDs(b, "web-", pids)(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.Contains(up.Output(), "web.yaml:5") {
		t.Errorf("the fault and its place are not in the output:\n%s", up.Output())
	}
	b.Write("web.yaml", strings.Replace(good, "replicas: 2", "replicas: 3", 1))
	b.UntilReady("web-", 3)
}

// A file that somebody is still writing is not read, whatever stands in it.
func TestHalfWrittenFile(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	content := deployment("one", 1, run("web")).String() + "---\n" + deployment("two", 1, run("web")).String()
	b.Write("both.yaml", content)
	b.Up()
	pids := harness.PIDs(b.UntilReady("one-", 1))
	maps.Copy(pids, harness.PIDs(b.UntilReady("two-", 1)))

	// The first half is valid by itself, and the second object is not in it.
	file, err := os.OpenFile(filepath.Join(b.Manifests, "both.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.Index(content, "---\n") + 4
	if _, err := file.WriteString(content[:cut]); err != nil {
		t.Fatal(err)
	}
	b.For(4*time.Second, "both Deployments while one is written", func() error {
		for name, pid := range pids {
			if !harness.Running(pid) {
				return fmt.Errorf("%s has ended", name)
			}
		}
		return nil
	})
	if _, err := file.WriteString(strings.Replace(content[cut:], "replicas: 1", "replicas: 2", 1)); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	b.UntilReady("two-", 2)
	b.UntilReady("one-", 1)
}

// However a file is saved, the change is seen.
func TestWaysOfSaving(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	want := 0
	content := func() string {
		want++
		return deployment("web", want, run("sleep")).String()
	}
	b.Write("web.yaml", content())
	b.Up()
	b.UntilReady("web-", want)
	path := filepath.Join(b.Manifests, "web.yaml")
	sh := func(script string) error {
		out, err := exec.Command("sh", "-c", script).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	for name, save := range map[string]func() error{
		"in place": func() error { return os.WriteFile(path, []byte(content()), 0o644) },
		"sed -i": func() error {
			want++
			return sh(fmt.Sprintf("sed -i 's/replicas: .*/replicas: %d/' %s", want, path))
		},
		"cp": func() error {
			tmp := filepath.Join(t.TempDir(), "x")
			return errors.Join(os.WriteFile(tmp, []byte(content()), 0o644), sh("cp "+tmp+" "+path))
		},
		"backup and rename, as vim does": func() error {
			return errors.Join(os.WriteFile(filepath.Join(b.Manifests, "4913"), nil, 0o644), os.Remove(filepath.Join(b.Manifests, "4913")),
				os.Rename(path, path+"~"), os.WriteFile(path, []byte(content()), 0o644), os.Remove(path+"~"))
		},
		"swapped ..data": func() error {
			c := content()
			one, data := filepath.Join(b.Manifests, "..one"), filepath.Join(b.Manifests, "..data")
			_ = os.RemoveAll(one)
			return errors.Join(os.Mkdir(one, 0o755), os.WriteFile(filepath.Join(one, "web.yaml"), []byte(c), 0o644), os.Symlink("..one", data+"_tmp"),
				os.Rename(data+"_tmp", data), os.Symlink("..data/web.yaml", path+".new"), os.Rename(path+".new", path))
		},
		"line by line": func() error {
			os.Remove(path) // it may be a link
			f, err := os.Create(path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(content()) {
				if _, err := f.WriteString(line); err != nil {
					return err
				}
			}
			return f.Close()
		},
	} {
		if err := save(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Log(name)
		b.UntilReady("web-", want)
	}
}

// An object that vanishes is removed after a moment of absence only, and when most vanish at once only with consent.
func TestPruneDelayAndFuse(t *testing.T) {
	const all = 8
	b := harness.New(t)
	b.Load(images.Tool)
	for i := range all {
		b.Write(fmt.Sprintf("d%d.yaml", i), deployment(fmt.Sprintf("d%d", i), 1, run("sleep")).String())
	}
	b.Up("--prune-delay", "3s")
	pids := map[string]int{}
	for i := range all {
		maps.Copy(pids, harness.PIDs(b.UntilReady(fmt.Sprintf("d%d-", i), 1)))
	}

	// Away and back within the delay: nothing happens.
	path := filepath.Join(b.Manifests, "d0.yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.Delete("d0.yaml")
	b.For(500*time.Millisecond, "the delay", samePIDs(b, "d", pids))
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	b.For(3500*time.Millisecond, "what came back", samePIDs(b, "d", pids))

	// Six of eight at once: the fuse.
	for i := range 6 {
		b.Delete(fmt.Sprintf("d%d.yaml", i))
	}
	b.UntilStatus("the removal to wait for consent", func(s harness.Status) error {
		n := 0
		for _, w := range s.Waiting {
			if w.Why == "consent" {
				n++
			}
		}
		if n != 6 {
			return fmt.Errorf("%+v", s.Waiting)
		}
		return nil
	})
	b.For(3500*time.Millisecond, "the fuse", samePIDs(b, "d", pids))
	b.Must("allow")
	for i := range 6 {
		gone(b, fmt.Sprintf("d%d-", i), nil)
	}
	b.UntilReady("d6-", 1)
	b.UntilReady("d7-", 1)
}

// A directory that is moved away, emptied or not there is no wish to remove anything; when it is back its content counts again.
func TestDirectoryGone(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("web.yaml", deployment("web", 2, run("web")).String())
	b.Up("--prune-delay", "200ms")
	pids := harness.PIDs(b.UntilReady("web-", 2))
	if err := os.Rename(b.Manifests, b.Manifests+".away"); err != nil {
		t.Fatal(err)
	}
	b.For(2*time.Second, "the pods without their directory", samePIDs(b, "web-", pids))
	if err := os.Rename(b.Manifests+".away", b.Manifests); err != nil {
		t.Fatal(err)
	}
	b.Write("web.yaml", deployment("web", 3, run("web")).String())
	b.UntilReady("web-", 3)
}

// Whatever lies in the directory: a clear line, nothing lost, no hang.
func TestBadInput(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("a.yaml", deployment("web", 1, run("web")).String())
	b.Up()
	pids := harness.PIDs(b.UntilReady("web-", 1))
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'm'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	other := deployment("other", 1, run("sleep")).String()
	path := func(name string) string { return filepath.Join(b.Manifests, name) }
	tests := []struct {
		name, file, content, want string
		plant                     func() error
	}{
		{name: "unknown field", file: "u.yaml", content: strings.Replace(other, "replicas", "replikas", 1), want: "replikas"},
		{name: "wrong type", file: "t.yaml", content: strings.Replace(other, "replicas: 1", "replicas: [1]", 1), want: "replicas"},
		{name: "the same object twice", file: "z.yaml", content: deployment("web", 5, run("web")).String(), want: "a.yaml"},
		{name: "selector that does not match", file: "s.yaml", content: strings.Replace(other, "matchLabels: {app: other}", "matchLabels: {app: no}", 1), want: "selector"},
		{name: "negative replicas", file: "n.yaml", content: strings.Replace(other, "replicas: 1", "replicas: -1", 1), want: "replicas"},
		{name: "10 MiB", file: "big.yaml", content: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata:\n  x: " + strings.Repeat("y", 10<<20) + "\n", want: "big.yaml"},
		{name: "binary junk", file: "junk.yaml", content: "\x7fELF\x02\x01\x01\x00\x9c\xff\xfe\x00", want: "junk.yaml"},
		{name: "YAML bomb", file: "bomb.yaml", content: bomb, want: "bomb.yaml"},
		{name: "FIFO", file: "fifo.yaml", plant: func() error { return mkfifo(path("fifo.yaml")) }},
		{name: "device", file: "dev.yaml", plant: func() error { return mkdev(path("dev.yaml")) }},
		{name: "link out of the directory", file: "out.yaml", plant: func() error { return os.Symlink("/etc/shadow", path("out.yaml")) }},
	}
	for _, tc := range tests {
		if tc.plant != nil {
			if err := tc.plant(); err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
		} else {
			b.Write(tc.file, tc.content)
		}
		if tc.want != "" {
			b.UntilStatus(tc.name+" to be reported", func(s harness.Status) error {
				for _, f := range s.Faults {
					if strings.HasSuffix(f.File, tc.file) && strings.Contains(f.File+" "+f.Field+" "+f.Text, tc.want) {
						return nil
					}
				}
				return fmt.Errorf("faults: %.2000v", s.Faults)
			})
		}
		if err := samePIDs(b, "web-", pids)(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err := os.Remove(path(tc.file)); err != nil {
			t.Fatal(err)
		}
	}
	b.Write("a.yaml", deployment("web", 2, run("web")).String())
	b.UntilReady("web-", 2)
	if s, err := b.Look(); err != nil || strings.Contains(fmt.Sprint(s.Faults), "root:") {
		t.Errorf("a fault shows what stands in a foreign file: %+v, %v", s.Faults, err)
	}
}

// Faults at the start of a container are told with their reason.
func TestContainerThatCannotStart(t *testing.T) {
	b := harness.New(t)
	b.Load(images.Tool)
	b.Write("nocmd.yaml", pod("nocmd", fmt.Sprintf("image: %q, command: [/no/such/program]", images.Ref(images.Tool))).String())
	b.Write("noroot.yaml", pod("noroot", run("sleep")+", securityContext: {runAsNonRoot: true}").String())
	b.Write("nomap.yaml", pod("nomap", run("sleep")+", envFrom: [{configMapRef: {name: nowhere}}]").String())
	b.Up()
	for name, want := range map[string]string{"nocmd": "/no/such/program", "noroot": "oot", "nomap": "nowhere"} {
		b.UntilPod(name, "the reason", func(p harness.Pod) error {
			c := p.Container("main")
			if p.Ready || !strings.Contains(p.Message+c.Message, want) {
				return fmt.Errorf("%+v", p)
			}
			return nil
		})
	}
}
