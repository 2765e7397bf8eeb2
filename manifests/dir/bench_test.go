package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"

	"berth/manifests"
)

// files makes a directory of so many small files.
func files(b *testing.B, n int) string {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		text := deployment(fmt.Sprintf("other-%05d", i), 1)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("other-%05d.yaml", i)), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// BenchmarkCold10k measures from the start to the first snapshot of a directory of 10,000 files.
func BenchmarkCold10k(b *testing.B) {
	dir := files(b, 10_000)
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		err := New(dir, Options{}).Run(ctx, func(s manifests.Snapshot) {
			if n := len(s.Objects); n != 10_000 {
				b.Errorf("%d objects", n)
			}
			cancel()
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse10k is what the same files cost anybody: each is read, and its YAML parsed.
func BenchmarkParse10k(b *testing.B) {
	dir := files(b, 10_000)
	for b.Loop() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				b.Fatal(err)
			}
			var node yaml.Node
			if err := yaml.Unmarshal(data, &node); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// benchSave measures the time from the rename of a small file to the snapshot that shows it, in a directory of others.
func benchSave(b *testing.B, others int, inPlace bool) {
	b.Helper()
	dir := files(b, others)
	got := make(chan int32, 1)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	src := New(dir, Options{})
	src.quiet = 0 // measures the way, not the rest between two snapshots
	go func() {
		done <- src.Run(ctx, func(s manifests.Snapshot) {
			n := int32(-1)
			for _, v := range slices.Backward(s.Objects) {
				if d := v.Object.(*appsv1.Deployment); d.Name == "web" {
					n = *d.Spec.Replicas
					break
				}
			}
			got <- n
		})
	}()
	defer func() { cancel(); <-done }()
	<-got
	i := int32(0)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		i++
		name := ".tmp"
		if inPlace {
			name = "web.yaml"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(deployment("web", int(i))), 0o644); err != nil {
			b.Fatal(err)
		}
		if !inPlace {
			if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, "web.yaml")); err != nil {
				b.Fatal(err)
			}
		}
		for n := range got {
			if n == i {
				break
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*9/10].Microseconds()), "p90-µs")
}

func BenchmarkRename(b *testing.B)       { benchSave(b, 10, false) }
func BenchmarkWriteInPlace(b *testing.B) { benchSave(b, 10, true) }
func BenchmarkRename10k(b *testing.B)    { benchSave(b, 10_000, false) }
