package native

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"berth/runtime"
	"berth/runtime/cgroup"
)

// The environment of a controller that is there to be killed.
const (
	victimDirs = "BERTH_TEST_VICTIM" // state, run and image directory, and the instance's id
)

func TestMain(m *testing.M) {
	if dirs := os.Getenv(victimDirs); dirs != "" {
		if err := victim(strings.Split(dirs, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// victim makes and removes pods until it is killed.
func victim(args []string) error {
	ctx := context.Background()
	tree, err := cgroup.Open(args[3])
	if err != nil {
		return err
	}
	image := runtime.Image{ID: "sha256:0123", Layers: []string{args[2]}, Config: runtime.ImageConfig{Env: []string{"PATH=/bin"}}}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	r, err := Open(ctx, Options{
		StateDir: args[0], RunDir: args[1], Binary: exe, Images: imageMap{testImage: image}, Cgroups: tree, Network: &addresses{},
		Report: func(err error) { fmt.Fprintln(os.Stderr, "reported:", err) },
	})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		box := runtime.SandboxConfig{
			UID: fmt.Sprintf("pod-%d", i%3), Name: "web", UserNamespace: i%2 == 0, ShareMemory: true,
			Volumes: []runtime.Volume{{Name: "m", EmptyDir: &runtime.EmptyDir{Memory: true}}, {Name: "f", Files: &runtime.Files{Hash: "1a", Entries: []runtime.File{{Path: "k"}}}}},
		}
		if i >= 3 {
			if err := r.RemoveSandbox(ctx, box.UID); err != nil {
				return err
			}
		}
		if _, err := r.RunSandbox(ctx, box); err != nil {
			return err
		}
		for attempt := range uint32(2) {
			cfg := script("sleep 1000")
			cfg.Name = fmt.Sprintf("c%d", attempt)
			cfg.Mounts = []runtime.Mount{{Volume: "m", Path: "/m", SubPath: "x"}, {Volume: "f", Path: "/f"}}
			if _, err := r.StartContainer(ctx, box.UID, cfg); err != nil {
				return err
			}
		}
		if _, err := os.Stdout.WriteString("."); err != nil {
			return err
		}
	}
}

// TestControllerKilled kills controllers at random moments of making and removing pods. Whatever step that hits, the next controller
// finds every container that lives, and nothing else stays.
func TestControllerKilled(t *testing.T) {
	m := newMachine(t)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	exe, err := os.Executable()
	must(t, err)
	for range 12 {
		cmd := exec.Command(exe, "-test.run", "none")
		cmd.Env = append(os.Environ(), victimDirs+"="+strings.Join([]string{m.opts.StateDir, m.opts.RunDir, m.images[testImage].Layers[0], m.id}, "\n"))
		var errOut strings.Builder
		cmd.Stderr = &errOut
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		// Let it come to work, then strike within the next pod or two.
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatalf("the controller did not come up: %v\n%s", err, errOut.String())
		}
		strike := time.NewTimer(time.Duration(random.IntN(60_000)) * time.Microsecond)
		<-strike.C
		must(t, cmd.Process.Kill())
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("the controller ended by itself: %v\n%s", err, errOut.String())
		}
		m.opts.Network = &addresses{}
		m.open(t)
		m.checkWhole(t)
		must(t, m.Close())
	}
	m.opts.Network = &addresses{}
	m.open(t)
}

// checkWhole finds a living process behind every running container, and nothing in the groups that is not one.
func (m *machine) checkWhole(t *testing.T) {
	t.Helper()
	list, err := m.List(t.Context())
	must(t, err)
	groups, err := m.cgroups.List()
	must(t, err)
	for _, p := range list {
		known := map[string]bool{}
		for _, c := range p.Containers {
			known[c.Name] = true
			if c.State == runtime.Exited && c.Signal == 9 {
				continue // the controller was about to remove the pod
			}
			if c.State != runtime.Running || !m.lives(p.UID, m.pod(p.UID).find(c.Name, c.Attempt).containerRecord) {
				t.Errorf("pod %s has %+v, which does not run", p.UID, c)
			}
		}
		for _, name := range groups[p.UID] {
			if !known[name] {
				t.Errorf("group %s of pod %s belongs to nothing", name, p.UID)
			}
		}
		delete(groups, p.UID)
	}
	if len(groups) > 0 {
		t.Errorf("groups %v belong to nothing", groups)
	}
}
