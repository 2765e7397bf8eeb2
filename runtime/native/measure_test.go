package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"berth/runtime"
	"berth/runtime/network"
)

// TestBenchStart prints how long each of BERTH_BENCH_STARTS new pods with one container took until its program was executed, on the real
// network, as one line of JSON: the bench sets it beside the physical limit.
func TestBenchStart(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("BERTH_BENCH_STARTS"))
	if err != nil {
		t.Skip("make bench runs this")
	}
	pause, _ := strconv.Atoi(os.Getenv("BERTH_BENCH_PAUSE_MS"))
	undo := func() {}
	t.Cleanup(func() { undo() })            // after the machine's own end
	m := newMachineIn(t, func(dir string) { // the run directory is on a tmpfs, as on users' machines; the layers are not
		run, err := os.MkdirTemp("/run", "berth-bench-") //nolint:usetesting // the test's own directory is not on a tmpfs
		if err == nil {
			t.Cleanup(func() { _ = os.RemoveAll(run) })
			err = os.Symlink(run, filepath.Join(dir, "run"))
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := network.Config{ID: fmt.Sprintf("%08x", uint32(time.Now().UnixNano())), StateDir: t.TempDir()}
	pods, err := network.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	undo = func() {
		if err := errors.Join(pods.Close(), network.Remove(context.Background(), cfg)); err != nil {
			t.Error(err)
		}
	}
	m.opts.Network = pods
	m.open(t)
	container := runtime.ContainerConfig{Name: "main", Image: testImage, Command: []string{"sleep", "1000"}}
	if os.Getenv("BERTH_BENCH_RESOURCES") == "true" {
		container.Resources = runtime.Resources{CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, MemoryLimit: 64 << 20}
	}
	var took []float64
	for i := range n + 1 {
		uid := fmt.Sprintf("pod-%d", i)
		began := time.Now()
		m.sandbox(t, runtime.SandboxConfig{UID: uid})
		st, err := m.StartContainer(t.Context(), uid, container)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 { // the first one finds cold caches
			took = append(took, float64(st.StartedAt.Sub(began).Nanoseconds())/1e3) // as the keeper saw the execution
		}
		if err := m.RemoveSandbox(t.Context(), uid); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(pause) * time.Millisecond)
	}
	out, err := json.Marshal(map[string][]float64{"us": took})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s\n", out)
}
