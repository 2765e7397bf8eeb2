// Package dir watches a directory of manifests and gives a new snapshot a moment after any file in it has settled, however it was saved.
//
// One goroutine owns everything. It sleeps in one inotify instance (directories are watched, never files), and any event only means:
// look again. A file is taken when nobody has it open for writing; what looks like damage (fewer objects, new faults, a vanished file)
// has to stay for a moment first. Names that editors, Git and backups leave behind are not manifests.
package dir

import (
	"context"
	"path/filepath"
	"time"

	"k8s.io/utils/clock"

	"berth/manifests"
)

// Options of a Source. The zero value is what the product uses.
type Options struct {
	// Clock is the real one unless a test sets another.
	Clock clock.WithTicker
	// Poll is how often the directory is read where the kernel cannot tell of changes, and how long a writer that holds a file open without
	// writing is left alone at most: 5 s by default.
	Poll time.Duration
}

// Source is a directory of manifests.
type Source struct {
	path  string
	clock clock.WithTicker
	poll  time.Duration
	quiet time.Duration

	rewrites chan rewrite
}

var _ manifests.Source = (*Source)(nil)

// New returns the source of a directory. The directory need not exist yet.
func New(path string, o Options) *Source {
	s := &Source{path: path, clock: o.Clock, poll: o.Poll, quiet: quiet, rewrites: make(chan rewrite)}
	if abs, err := filepath.Abs(path); err == nil {
		s.path = abs
	}
	if s.clock == nil {
		s.clock = clock.RealClock{}
	}
	if s.poll <= 0 {
		s.poll = 5 * time.Second
	}
	return s
}

// Path is the absolute path of the directory.
func (s *Source) Path() string { return s.path }

// quiet is how long the source says nothing after a snapshot: a checkout of 500 files gives a handful of snapshots, a single save one at
// once.
const quiet = 150 * time.Millisecond

// fullPass is how often everything is compared with the disk although no event said so: the kernel says nothing of what is written through
// a memory mapping.
const fullPass = 10 * time.Minute

// Run implements manifests.Source. It returns when ctx ends, with nil, or when the machine cannot watch at all.
func (s *Source) Run(ctx context.Context, emit func(manifests.Snapshot)) error {
	w, err := newWatcher()
	if err != nil {
		w = nil // no instance to be had: polling is slower, and said in a warning
	} else {
		defer w.close()
	}
	newLoop(s, w, emit).run(ctx)
	return nil
}

// run reads and reports until ctx ends.
func (l *loop) run(ctx context.Context) {
	l.rescan()
	l.settle() //nolint:contextcheck // it reads what is there and never waits
	for {
		l.publish()
		if !l.wait(ctx) {
			return
		}
		l.settle() //nolint:contextcheck // it reads what is there and never waits
	}
}
