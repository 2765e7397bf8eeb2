package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// Watcher tells any number of readers that their logs grow. It needs one inotify descriptor for all of them, which an instance for each would
// use up: the kernel allows 128. The zero value is ready; Close ends it.
type Watcher struct {
	mu     sync.Mutex
	w      *fsnotify.Watcher // nil until the first reader
	closed bool
	dirs   map[string]map[*watch]struct{} // readers by the directory of their log
	done   sync.WaitGroup
}

// Follow is the function Follow with this watcher.
func (k *Watcher) Follow(ctx context.Context, path string, opts Options, w io.Writer) error {
	watch, err := k.watch(path)
	if err != nil {
		return fmt.Errorf("cannot watch log %q: %w", path, err)
	}
	defer watch.close()
	return follow(ctx, path, opts, w, watch)
}

// Close lets go of the descriptor. Who still follows hears nothing more.
func (k *Watcher) Close() error {
	k.mu.Lock()
	w := k.w
	k.w, k.closed = nil, true
	k.mu.Unlock()
	if w == nil {
		return nil
	}
	err := w.Close()
	k.done.Wait()
	return err
}

// watch is one reader. A directory is watched, never a file: rotation is a matter of names.
type watch struct {
	k    *Watcher
	path string
	woke chan struct{}
}

func (k *Watcher) watch(path string) (*watch, error) {
	r := &watch{k: k, path: filepath.Clean(path), woke: make(chan struct{}, 1)}
	dir := filepath.Dir(r.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, errors.New("the watcher is closed")
	}
	if k.w == nil {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			return nil, err
		}
		k.w, k.dirs = w, map[string]map[*watch]struct{}{}
		k.done.Go(func() { k.run(w) })
	}
	if k.dirs[dir] == nil {
		if err := k.w.Add(dir); err != nil {
			return nil, err
		}
		k.dirs[dir] = map[*watch]struct{}{}
	}
	k.dirs[dir][r] = struct{}{}
	return r, nil
}

func (r *watch) close() {
	k, dir := r.k, filepath.Dir(r.path)
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.dirs[dir], r)
	if len(k.dirs[dir]) > 0 {
		return
	}
	delete(k.dirs, dir)
	if k.w != nil {
		_ = k.w.Remove(dir) // gone with the directory
	}
}

// run merges events: a reader reads all there is anyhow.
func (k *Watcher) run(w *fsnotify.Watcher) {
	for {
		select {
		case ev, ok := <-w.Events:
			if !ok {
				return
			}
			k.wake(filepath.Clean(ev.Name))
		case _, ok := <-w.Errors: // an overflow: events were lost, so look
			if !ok {
				return
			}
			k.wake("")
		}
	}
}

// wake tells the readers of a log; "" is all of them.
func (k *Watcher) wake(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if path != "" {
		for r := range k.dirs[filepath.Dir(path)] {
			if r.path == path {
				r.wake()
			}
		}
		return
	}
	for _, readers := range k.dirs {
		for r := range readers {
			r.wake()
		}
	}
}

func (r *watch) wake() {
	select {
	case r.woke <- struct{}{}:
	default: // it has not even taken the last
	}
}
