package dir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// watcher is one inotify instance over directories. Why not a library: the one at hand does not report IN_CLOSE_WRITE, so it wakes for
// each write of a growing file and cannot say when the writer is done.
type watcher struct {
	file   *os.File
	fd     int
	byID   map[int32]string // owned by the loop
	byPath map[string]int32
	events chan []event
	done   chan struct{}
	wait   sync.WaitGroup
}

// event says that a name in a directory is worth a look.
type event struct {
	id       int32
	mask     uint32
	name     string // "" when the directory itself is meant
	overflow bool
}

// dirMask is what is told about a directory. IN_MODIFY is left out on purpose: a file that is being written is not looked at before its
// writer closes it.
const dirMask = syscall.IN_CLOSE_WRITE | syscall.IN_MOVED_TO | syscall.IN_MOVED_FROM | syscall.IN_CREATE | syscall.IN_DELETE | syscall.IN_ATTRIB |
	syscall.IN_DELETE_SELF | syscall.IN_MOVE_SELF | syscall.IN_ONLYDIR | syscall.IN_EXCL_UNLINK

// selfGone: the watched directory itself went away, or what was mounted there.
const selfGone = syscall.IN_DELETE_SELF | syscall.IN_MOVE_SELF | syscall.IN_UNMOUNT | syscall.IN_IGNORED

func newWatcher() (*watcher, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch: %w", err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "inotify"), fd: fd, byID: map[int32]string{}, byPath: map[string]int32{},
		events: make(chan []event), done: make(chan struct{})}
	w.wait.Go(w.read)
	return w, nil
}

func (w *watcher) close() {
	close(w.done)
	_ = w.file.Close() // wakes the reader
	w.wait.Wait()
}

// add watches a directory. Watching one twice is no error and costs nothing.
func (w *watcher) add(dir string) error {
	id, err := syscall.InotifyAddWatch(w.fd, dir, dirMask)
	if err != nil {
		return fmt.Errorf("cannot watch %q: %w", dir, err)
	}
	if old, ok := w.byPath[dir]; ok && old != int32(id) && w.byID[old] == dir {
		w.drop(old) // another directory has the name now
	}
	if was, ok := w.byID[int32(id)]; ok && was != dir {
		delete(w.byPath, was) // it was moved
	}
	w.byID[int32(id)], w.byPath[dir] = dir, int32(id)
	return nil
}

// remove stops watching a directory and everything below it.
func (w *watcher) remove(dir string) {
	for path, id := range w.byPath {
		if path == dir || strings.HasPrefix(path, dir+string(filepath.Separator)) {
			w.drop(id)
		}
	}
}

func (w *watcher) drop(id int32) {
	if path, ok := w.byID[id]; ok && w.byPath[path] == id {
		delete(w.byPath, path)
	}
	delete(w.byID, id)
	_, _ = syscall.InotifyRmWatch(w.fd, uint32(id)) // fails when the kernel removed it first
}

// read passes on what the kernel reports, a buffer at a time, until close.
func (w *watcher) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil || n <= 0 {
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			return
		}
		select {
		case w.events <- parseEvents(buf[:n]):
		case <-w.done:
			return
		}
	}
}

func parseEvents(buf []byte) []event {
	var events []event
	for len(buf) >= syscall.SizeofInotifyEvent {
		e := event{id: int32(binary.NativeEndian.Uint32(buf)), mask: binary.NativeEndian.Uint32(buf[4:])}
		end := min(syscall.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(buf[12:])), len(buf))
		name, _, _ := bytes.Cut(buf[syscall.SizeofInotifyEvent:end], []byte{0})
		e.name, e.overflow = string(name), e.mask&syscall.IN_Q_OVERFLOW != 0
		events, buf = append(events, e), buf[end:]
	}
	return events
}
