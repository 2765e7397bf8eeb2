package logs

import (
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// watch tells that a log's directory changed. A directory is watched, never a file: rotation is a matter of names.
type watch struct {
	w    *fsnotify.Watcher
	woke chan struct{}
	done chan struct{}
}

func newWatch(path string) (*watch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := w.Add(filepath.Dir(path)); err != nil {
		_ = w.Close() // the error before says more
		return nil, err
	}
	k := &watch{w: w, woke: make(chan struct{}, 1), done: make(chan struct{})}
	go k.run(path)
	return k, nil
}

// run merges events: a reader reads all there is anyhow.
func (k *watch) run(path string) {
	defer close(k.done)
	path = filepath.Clean(path)
	for {
		select {
		case ev, ok := <-k.w.Events:
			if !ok {
				return
			}
			if filepath.Clean(ev.Name) != path {
				continue
			}
		case _, ok := <-k.w.Errors: // an overflow: events were lost, so look
			if !ok {
				return
			}
		}
		select {
		case k.woke <- struct{}{}:
		default:
		}
	}
}

func (k *watch) close() {
	_ = k.w.Close() // an inotify descriptor: nothing can be lost
	<-k.done
}
