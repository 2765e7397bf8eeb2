package harness

import (
	"fmt"
	"os"
	"runtime"
	"slices"
)

// Runner is a TB outside of package testing, for programs. Its zero value, with a title, is ready.
type Runner struct {
	Title    string
	failed   bool
	cleanups []func()
}

var _ TB = (*Runner)(nil)

// Run calls f, which may end by Fatalf, and then what it left to be cleaned up, the last first.
func (r *Runner) Run(f func()) {
	outer := r.cleanups
	r.cleanups = nil
	guard(f)
	for len(r.cleanups) > 0 {
		last := r.cleanups[len(r.cleanups)-1]
		r.cleanups = slices.Delete(r.cleanups, len(r.cleanups)-1, len(r.cleanups))
		guard(last)
	}
	r.cleanups = outer
}

// guard runs f on a goroutine of its own, which Fatalf may end.
func guard(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// Helper does nothing.
func (r *Runner) Helper() {}

// Name is the title.
func (r *Runner) Name() string { return r.Title }

// Cleanup runs f at the end of Run.
func (r *Runner) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// Failed tells whether anything went wrong.
func (r *Runner) Failed() bool { return r.failed }

// Logf prints a line on standard error.
func (r *Runner) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Errorf prints a line and remembers the failure.
func (r *Runner) Errorf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
}

// Fatalf is Errorf, and ends the function that runs.
func (r *Runner) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
