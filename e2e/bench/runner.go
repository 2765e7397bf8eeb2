package main

import (
	"fmt"
	"os"
	"slices"
)

// runner is the harness's idea of a test outside of package testing.
type runner struct {
	failed   bool
	cleanups []func()
}

type stopped struct{}

func (r *runner) Helper()                      {}
func (r *runner) Name() string                 { return "bench" }
func (r *runner) Failed() bool                 { return r.failed }
func (r *runner) Cleanup(f func())             { r.cleanups = append(r.cleanups, f) }
func (r *runner) Logf(form string, a ...any)   { fmt.Fprintf(os.Stderr, form+"\n", a...) }
func (r *runner) Errorf(form string, a ...any) { r.failed = true; r.Logf(form, a...) }

// Fatalf ends the part that runs; guard catches it.
func (r *runner) Fatalf(form string, a ...any) {
	r.Errorf(form, a...)
	panic(stopped{})
}

// guard runs f and stops quietly where Fatalf was called.
func (r *runner) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(stopped); !ok {
				panic(p)
			}
		}
	}()
	f()
}

// cleanup undoes what the parts did, the last first.
func (r *runner) cleanup() {
	for _, f := range slices.Backward(r.cleanups) {
		r.guard(f)
	}
	r.cleanups = nil
}

// part runs one part with a cleanup of its own, and goes on when it fails.
func (r *runner) part(title string, f func()) {
	fmt.Printf("\n%s\n", title)
	outer := r.cleanups
	r.cleanups = nil
	r.guard(f)
	r.cleanup()
	r.cleanups = outer
}

// sample is a series of measurements of one thing.
type sample struct {
	name string
	us   []float64 // microseconds
}

// at is a quantile, by nearest rank.
func (s sample) at(q float64) float64 {
	if len(s.us) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.us))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// table prints samples with their ratio to the first.
func table(samples ...sample) {
	fmt.Printf("%-52s %6s %9s %9s %9s %9s %7s\n", "ms", "n", "min", "p10", "p50", "p99", "ratio")
	for _, s := range samples {
		if len(s.us) == 0 {
			fmt.Printf("%-52s %6d\n", s.name, 0)
			continue
		}
		ratio := ""
		if base := samples[0].at(0.5); base > 0 {
			ratio = fmt.Sprintf("%.2f", s.at(0.5)/base)
		}
		fmt.Printf("%-52s %6d %9.2f %9.2f %9.2f %9.2f %7s\n", s.name, len(s.us), s.at(0)/1e3, s.at(0.1)/1e3, s.at(0.5)/1e3, s.at(0.99)/1e3, ratio)
	}
}
