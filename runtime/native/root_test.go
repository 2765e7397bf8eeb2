package native

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/runtime"
	"berth/runtime/cgroup"
	_ "berth/runtime/keeper" // this test binary is the keeper, too
)

// machine is a runtime on directories, a keeper and cgroups of its own, which must all be gone at the end.
type machine struct {
	*Runtime
	t      testing.TB
	opts   Options
	images imageMap
	id     string
}

type imageMap map[string]runtime.Image

func (m imageMap) Image(_ context.Context, ref string) (runtime.Image, error) {
	img, ok := m[ref]
	if !ok {
		return img, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	return img, nil
}

const (
	testImage = "test.invalid/busybox:1"
	deadline  = time.Minute
)

func newMachine(t testing.TB) *machine {
	t.Helper()
	return newMachineIn(t, func(string) {})
}

// newMachineIn lets prepare change the directory before anything is in it.
func newMachineIn(t testing.TB, prepare func(dir string)) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: cannot make namespaces")
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id)
	tree, err := cgroup.Open(hex.EncodeToString(id))
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	prepare(dir)
	m := &machine{t: t, id: hex.EncodeToString(id), images: imageMap{testImage: busybox(t, filepath.Join(dir, "image"))}}
	m.opts = Options{
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Binary: exe, Images: m.images, Cgroups: tree,
		Report: func(err error) { t.Errorf("reported: %v", err) },
	}
	m.opts.Network = &addresses{}
	m.open(t)
	t.Cleanup(func() { m.end(t) })
	return m
}

func (m *machine) open(t testing.TB) {
	t.Helper()
	r, err := Open(t.Context(), m.opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	m.Runtime = r
}

// end removes all pods and the keeper, and looks for what was left.
func (m *machine) end(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	list, err := m.List(ctx)
	if err != nil {
		t.Error(err)
	}
	for _, p := range list {
		if err := m.RemoveSandbox(ctx, p.UID); err != nil {
			t.Errorf("RemoveSandbox: %v", err)
		}
	}
	if err := m.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	for _, dir := range []string{m.dirs.runPods(), m.dirs.statePods(), m.dirs.containers()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
			t.Errorf("%s holds %v, %v", dir, entries, err)
		}
	}
	if log, _ := os.ReadFile(filepath.Join(m.opts.RunDir, "keeper.log")); len(log) > 0 {
		t.Errorf("the keeper's log:\n%s", log)
	}
	if groups, err := m.cgroups.List(); err != nil || len(groups) > 0 {
		t.Errorf("groups are left: %v, %v", groups, err)
	}
	leftProcesses(t, m.dirs)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(m.opts.RunDir)) {
		t.Errorf("mounts are left on the machine: %v", err)
	}
}

// leftProcesses finds processes that see anything of this machine's pods in their mounts: the keeper's and containers'.
func leftProcesses(t testing.TB, l layout) {
	t.Helper()
	tables, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		data, err := os.ReadFile(table)
		if err == nil && (bytes.Contains(data, []byte(l.run)) || bytes.Contains(data, []byte(l.containers())) || bytes.Contains(data, []byte(l.statePods()))) {
			t.Errorf("%s still has a mount of a pod", table)
		}
	}
}

// busybox makes an image of one layer.
func busybox(t testing.TB, dir string) runtime.Image {
	t.Helper()
	const source = "/bin/busybox"
	data, err := os.ReadFile(source)
	if err != nil {
		t.Fatalf("install busybox-static: %v", err)
	}
	layer := filepath.Join(dir, "layers", "sha256-abc")
	for _, d := range []string{"bin", "etc", "tmp", "proc", "sys", "dev", "work"} {
		if err := os.MkdirAll(filepath.Join(layer, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(layer, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(source, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if err := os.Symlink("busybox", filepath.Join(layer, "bin", name)); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	passwd := "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
	if err := os.WriteFile(filepath.Join(layer, "etc/passwd"), []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	for d, mode := range map[string]fs.FileMode{"tmp": 0o777 | fs.ModeSticky, "work": 0o700} {
		if err := os.Chmod(filepath.Join(layer, d), mode); err != nil {
			t.Fatal(err)
		}
	}
	return runtime.Image{
		ID: "sha256:0123", Digest: "sha256:4567", Layers: []string{layer},
		Config: runtime.ImageConfig{Env: []string{"PATH=/bin", "FROM=image", "BOTH=image"}, Cmd: []string{"sh"}},
	}
}

func (m *machine) sandbox(t testing.TB, cfg runtime.SandboxConfig) {
	t.Helper()
	if cfg.UID == "" {
		cfg.UID = "pod"
	}
	if cfg.Name == "" {
		cfg.Namespace, cfg.Name, cfg.Hostname = "default", "web", "web"
	}
	st, err := m.RunSandbox(t.Context(), cfg)
	if err != nil || !st.Ready {
		t.Fatalf("RunSandbox = %+v, %v", st, err)
	}
}

// script is a container that runs a shell script.
func script(text string) runtime.ContainerConfig {
	return runtime.ContainerConfig{Name: "main", Image: testImage, Command: []string{"sh", "-c", text}}
}

// output starts a container, waits for its end, and returns what it has written.
func (m *machine) output(t testing.TB, cfg runtime.ContainerConfig) (string, runtime.ContainerStatus) {
	t.Helper()
	st, err := m.StartContainer(t.Context(), "pod", cfg)
	if err != nil {
		t.Fatalf("StartContainer: %v", err)
	}
	st = m.awaitEnd(t, cfg.Name, cfg.Attempt)
	return logText(t, st.LogPath), st
}

// awaitLog waits until a log holds a text.
func (m *machine) awaitLog(t testing.TB, path, text string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(deadline)
	for {
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(text)) {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("log %s never held %q", path, text)
		}
	}
}

func logText(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("log: %v", err)
	}
	var b strings.Builder
	for _, line := range strings.SplitAfter(string(data), "\n") {
		if f := strings.SplitN(line, " ", 4); len(f) == 4 {
			b.WriteString(f[3])
		}
	}
	return b.String()
}

func (m *machine) awaitEnd(t testing.TB, name string, attempt uint32) runtime.ContainerStatus {
	t.Helper()
	return m.await(t, func(p runtime.PodStatus) (runtime.ContainerStatus, bool) {
		for _, c := range p.Containers {
			if c.Name == name && c.Attempt == attempt && c.State == runtime.Exited {
				return c, true
			}
		}
		return runtime.ContainerStatus{}, false
	})
}

// await looks at a pod at each event until ok.
func (m *machine) await(t testing.TB, ok func(runtime.PodStatus) (runtime.ContainerStatus, bool)) runtime.ContainerStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	changed := make(chan struct{}, 1)
	go func() {
		_ = m.Events(ctx, func(runtime.Event) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	tick := time.NewTicker(50 * time.Millisecond) // Events may begin to listen after the change
	defer tick.Stop()
	for {
		p, err := m.Status(ctx, "pod")
		if err != nil {
			t.Fatalf("Status: %v", err)
		}
		if c, done := ok(p); done {
			return c
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the pod never got there: %+v", p)
		}
	}
}

func TestFirstContainer(t *testing.T) {
	m := newMachine(t)
	m.sandbox(t, runtime.SandboxConfig{})
	out, st := m.output(t, script("echo hello; hostname; id -u; pwd; echo $FROM; exit 3"))
	if want := "hello\nweb\n0\n/\nimage\n"; out != want || st.ExitCode != 3 || st.Reason != runtime.ReasonError {
		t.Errorf("output %q, want %q; status %+v", out, want, st)
	}
}
