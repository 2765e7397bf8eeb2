package native

import (
	"slices"
	"testing"
	"time"

	"berth/runtime"
)

// BenchmarkStart measures a start until the program has been executed, in a pod that exists.
func BenchmarkStart(b *testing.B) {
	m := newMachine(b)
	m.sandbox(b, runtime.SandboxConfig{})
	cfg := runtime.ContainerConfig{Name: "main", Image: testImage, Command: []string{"/bin/true"}}
	attempt := uint32(0)
	var took []time.Duration
	for b.Loop() {
		cfg.Attempt = attempt
		attempt++
		began := time.Now()
		if _, err := m.StartContainer(b.Context(), "pod", cfg); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		b.StopTimer()
		m.awaitEnd(b, "main", cfg.Attempt)
		if err := m.RemoveContainer(b.Context(), "pod", "main", cfg.Attempt); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	report(b, took)
}

// BenchmarkPod measures a new pod with one container until its program has been executed.
func BenchmarkPod(b *testing.B) {
	m := newMachine(b)
	cfg := runtime.ContainerConfig{Name: "main", Image: testImage, Command: []string{"sleep", "1000"}}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		m.sandbox(b, runtime.SandboxConfig{})
		if _, err := m.StartContainer(b.Context(), "pod", cfg); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		b.StopTimer()
		if err := m.RemoveSandbox(b.Context(), "pod"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	report(b, took)
}

// report adds what a busy machine disturbs less than the mean.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	for name, part := range map[string]float64{"p10-µs": 0.1, "p50-µs": 0.5, "p99-µs": 0.99} {
		b.ReportMetric(float64(took[int(part*float64(len(took)-1))].Microseconds()), name)
	}
}
