package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// report counts by tier.
type report struct {
	files, ran map[string]int
	others     map[string]int
	failures   []string
}

func newReport() *report {
	return &report{files: map[string]int{}, ran: map[string]int{}, others: map[string]int{}}
}

func (r *report) apart(reason string) { r.others[reason]++ }

func (r *report) add(row row, failure string) {
	r.files[row.tier]++
	if failure == "" {
		r.ran[row.tier]++
		return
	}
	line := row.tier + " " + row.file + ": " + failure
	r.failures = append(r.failures, line)
	fmt.Fprintln(os.Stderr, line)
}

// String is a table of the tiers, what was counted apart, and what failed.
func (r *report) String() string {
	var b strings.Builder
	files, ran := 0, 0
	for _, tier := range slices.Sorted(maps.Keys(r.files)) {
		files, ran = files+r.files[tier], ran+r.ran[tier]
		fmt.Fprintf(&b, "%-5s %4d of %4d files: all their pods run\n", tier, r.ran[tier], r.files[tier])
	}
	if files > 0 {
		fmt.Fprintf(&b, "all   %4d of %4d files: %.1f %%\n", ran, files, 100*float64(ran)/float64(files))
	}
	for _, reason := range slices.Sorted(maps.Keys(r.others)) {
		fmt.Fprintf(&b, "apart %4d files: %s\n", r.others[reason], reason)
	}
	for _, f := range r.failures {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}
