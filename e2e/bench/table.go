package main

import (
	"fmt"
	"slices"

	"berth/e2e/harness"
)

// section runs one part with a cleanup of its own. The others go on when it fails.
func section(r *harness.Runner, title string, f func()) {
	fmt.Printf("\n%s\n", title)
	r.Run(f)
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
