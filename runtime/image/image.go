// Package image keeps the unpacked images of a machine: it pulls them from registries, loads them from archives, and hands out
// their layers as directories for overlayfs.
//
// Below the state directory:
//
//	l/NAME/                one unpacked layer, the same for all images that have it; names are short because overlayfs takes all
//	                       of an image's in one page
//	images/i/HEX.json      an image: its configuration and the names of its layers
//	images/r/HEX.json      a reference (the name is the hash of it) and the image it leads to
//	images/t/SESSION/      what one process has not finished; locked while that process lives
//	images/lock            held for the moment in which one of the above changes
//
// Readers take no lock: every change is a rename, references go before images and images before layers. What a crash leaves is
// either in a session that nobody locks or a layer that no image names, and the next Open removes it.
package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"berth/runtime"
	"berth/runtime/rootfs"
)

// Options are the choices of a Store. Only StateDir is required.
type Options struct {
	// StateDir is berth's state directory.
	StateDir string
	// Registries is a registries file (see ReadRegistries); "" for none, and a file that does not exist is none.
	Registries string
	// InUse returns the ids of the images that containers run from. Without it nothing is pruned by itself.
	InUse func() map[string]bool
	// Enough is the rule for free disk space; EnoughSpace by default.
	Enough func(Disk) bool
	// Limits bound what one layer may use.
	Limits rootfs.Limits
	// StallTimeout ends a transfer in which no byte arrived for so long; one minute by default.
	StallTimeout time.Duration
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Getenv and Home find the credential files of the machine; os.Getenv and the user's home by default.
	Getenv func(string) string
	Home   string
}

// Store is the image store of one state directory. Any number of processes may have it open at once.
type Store struct {
	opts       Options
	registries *Registries
	session    *session
	cache      cache
	turns      turns

	mu      sync.Mutex
	flights map[string]*flight
	layers  map[string]*stagedLayer
}

var _ runtime.Images = (*Store)(nil)

// Open opens the store, makes it if there is none, and removes what processes that died in the middle of their work have left.
func Open(opts Options) (*Store, error) {
	s := &Store{opts: opts.withDefaults(), flights: map[string]*flight{}, layers: map[string]*stagedLayer{}, turns: turns{running: map[string]int{}}}
	s.cache.entries = map[string]cached{}
	registries, err := ReadRegistries(opts.Registries)
	if err != nil {
		return nil, err
	}
	s.registries = registries
	for _, dir := range []string{opts.StateDir, s.path(), s.path("i"), s.path("r"), s.path("t"), s.layersDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot open image store: %w", err)
		}
	}
	// A local user must not reach setuid programs of images, whatever the umask or an earlier administrator did.
	for _, dir := range []string{s.path(), s.layersDir()} {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot open image store: %w", err)
		}
	}
	if s.session, err = s.openSession(); err != nil {
		return nil, fmt.Errorf("cannot open image store: %w", err)
	}
	if err := s.sweep(); err != nil {
		_ = s.session.close() // the error before says more, and the next sweep finds the session
		return nil, fmt.Errorf("cannot open image store: %w", err)
	}
	return s, nil
}

// Close drops what is unfinished. Pulls must have returned.
func (s *Store) Close() error { return s.session.close() }

func (o Options) withDefaults() Options {
	if o.Enough == nil {
		o.Enough = EnoughSpace
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the default of an injected clock
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Home == "" {
		o.Home, _ = os.UserHomeDir()
	}
	return o
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.opts.StateDir, "images"}, parts...)...)
}

func (s *Store) layersDir() string { return filepath.Join(s.opts.StateDir, "l") }

// Image returns a stored image by reference or by id ("sha256:…"), or runtime.ErrNotFound. It costs one stat when nothing changed.
func (s *Store) Image(_ context.Context, ref string) (runtime.Image, error) {
	r, err := ParseReference(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	return s.lookup(r)
}
