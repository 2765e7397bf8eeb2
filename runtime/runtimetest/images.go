package runtimetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"berth/runtime"
)

// PullFault says how pulls of one reference go.
type PullFault struct {
	// Err fails the pull.
	Err error
	// Delay is how long it takes.
	Delay time.Duration
	// Hold keeps it waiting until the channel is closed.
	Hold <-chan struct{}
}

// Image implements runtime.Images.
func (f *Fake) Image(ctx context.Context, ref string) (runtime.Image, error) {
	if _, err := f.enter(ctx, false); err != nil {
		return runtime.Image{}, err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	img, ok := f.image(ref)
	if !ok {
		return runtime.Image{}, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	return img, nil
}

// Pull implements runtime.Images.
func (f *Fake) Pull(ctx context.Context, ref string, opts runtime.PullOptions) (runtime.Image, error) {
	after, err := f.enter(ctx, true)
	if err != nil {
		return runtime.Image{}, err
	}
	f.machine.mu.Lock()
	fault := f.pulls[ref]
	f.note("pull %s", ref)
	f.machine.mu.Unlock()
	if opts.Progress != nil {
		opts.Progress(0, 1000)
	}
	if err := fault.wait(ctx); err != nil {
		return runtime.Image{}, fmt.Errorf("cannot pull %q: %w", ref, err)
	}
	if opts.Progress != nil {
		opts.Progress(1000, 1000)
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	img, ok := f.images[ref]
	if !ok {
		id := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ref)))
		img = runtime.Image{ID: id, Digest: id, Size: 1000, Config: runtime.ImageConfig{Cmd: []string{"serve"}}}
		f.images[ref] = img
	}
	f.pulled = append(f.pulled, ref)
	return img, after
}

func (p PullFault) wait(ctx context.Context) error {
	if p.Delay > 0 {
		t := time.NewTimer(p.Delay) // in a synctest bubble this is the test's time
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	if p.Hold != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.Hold:
		}
	}
	return p.Err
}

// image finds a stored image by reference or by id.
func (m *machine) image(ref string) (runtime.Image, bool) {
	if img, ok := m.images[ref]; ok {
		return img, true
	}
	for _, img := range m.images {
		if img.ID == ref {
			return img, true
		}
	}
	return runtime.Image{}, false
}

// AddImage stores an image, as a load from an archive does.
func (f *Fake) AddImage(ref string, img runtime.Image) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.images[ref] = img
}

// RemoveImage forgets an image.
func (f *Fake) RemoveImage(ref string) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	delete(f.images, ref)
}

// OnPull sets how pulls of a reference go from now on.
func (f *Fake) OnPull(ref string, fault PullFault) {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	f.pulls[ref] = fault
}

// Pulled returns the references that were pulled, in order.
func (f *Fake) Pulled() []string {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	return slices.Clone(f.pulled)
}
