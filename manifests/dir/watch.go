package dir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// watcher is one inotify instance over directories. It knows each directory by its inode too: the library goes on reporting a directory
// that was renamed, or lies below one that was, under its old path, and adding it once more does not change that.
type watcher struct {
	fs     *fsnotify.Watcher
	paths  map[string]inode // owned by the loop, like inodes
	inodes map[inode]string
	events <-chan fsnotify.Event
	lost   chan struct{} // events were lost, or a folder above the directory renamed
	mounts chan struct{} // something was mounted or unmounted on the machine
	table  *os.File      // of mounts; nil when it cannot be had
	ways   *os.File      // tells that a folder above the directory was renamed; nil when it cannot be had
	upward map[int]bool  // its watches
	wait   sync.WaitGroup
}

type inode struct{ dev, ino uint64 }

// eventBuffer is how many events wait for the loop. What comes when it is full stays in the kernel, which makes one of all writes in a row
// to the same file. Two files that grow at full speed side by side fill the kernel's queue instead: a buffer of 64 made a rename wait for
// 1.1 s behind them, 256 for 0.1 s.
const eventBuffer = 512

func newWatcher() (*watcher, error) {
	fs, err := fsnotify.NewBufferedWatcher(eventBuffer)
	if err != nil {
		return nil, fmt.Errorf("cannot watch: %w", err)
	}
	w := &watcher{fs: fs, events: fs.Events, paths: map[string]inode{}, inodes: map[inode]string{}, lost: make(chan struct{}, 1), mounts: make(chan struct{}, 1)}
	w.wait.Go(w.drainErrors)
	if w.table, err = os.Open("/proc/self/mountinfo"); err == nil {
		w.wait.Go(w.watchMounts)
	}
	if fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK); err == nil {
		w.ways = os.NewFile(uintptr(fd), "inotify")
		w.wait.Go(w.watchWays)
	}
	return w, nil
}

func (w *watcher) close() {
	_ = w.fs.Close()
	if w.table != nil {
		_ = w.table.Close() // wakes its reader
	}
	if w.ways != nil {
		_ = w.ways.Close()
	}
	w.wait.Wait()
}

// drainErrors is a goroutine of its own because the library may hold its lock while it hands over an error, and the loop may wait for that
// lock in add.
func (w *watcher) drainErrors() {
	for range w.fs.Errors { // an overflow, or something as bad: the remedy is the same
		ring(w.lost)
	}
}

// watchMounts tells of changes of the mount table, because the library keeps it to itself when a watched directory is unmounted. The kernel
// reports such a change as a readiness of the open table, so that nothing is ever read from it.
func (w *watcher) watchMounts() {
	raw, err := w.table.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(uintptr) bool { // called once at first and then after each change, until close
		ring(w.mounts)
		return false
	})
}

// above watches every folder above a directory, and no other, for its own renaming only, which the watch on the directory keeps to itself. What else
// happens in them wakes nobody.
func (w *watcher) above(dir string) {
	raw, err := syscall.RawConn(nil), errors.ErrUnsupported
	if w.ways != nil {
		raw, err = w.ways.SyscallConn()
	}
	if err != nil {
		return
	}
	before := w.upward
	w.upward = map[int]bool{}
	_ = raw.Control(func(fd uintptr) {
		for dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			wd, err := syscall.InotifyAddWatch(int(fd), dir, syscall.IN_MOVE_SELF|syscall.IN_ONLYDIR) // one that is watched stays so
			if err == nil {
				w.upward[wd] = true
			}
		}
		for wd := range before {
			if !w.upward[wd] {
				_, _ = syscall.InotifyRmWatch(int(fd), uint32(wd)) //nolint:gosec // the kernel gave it; fails when the folder is gone
			}
		}
	})
}

// watchWays rings for each folder that was renamed, also when it is back where it was: who looked meanwhile found nothing. It leaves the watches
// alone: what goes away and comes back has the one that above believes in.
func (w *watcher) watchWays() {
	events := make([]byte, 4096) // these events carry no names: 16 bytes each
	for {
		if _, err := w.ways.Read(events); err != nil {
			return
		}
		ring(w.lost)
	}
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// add watches a directory. Watching one twice is no error and costs nothing.
func (w *watcher) add(dir string) error {
	id, err := inodeOf(dir)
	if err == nil && w.paths[dir] != id {
		w.remove(dir) // another directory has the name now
		if was, ok := w.inodes[id]; ok {
			w.remove(was) // it was moved
		}
	}
	if err == nil {
		err = w.fs.Add(dir) // also when it is known: the library forgets what moves
	}
	if err != nil {
		return fmt.Errorf("cannot watch %q: %w", dir, err)
	}
	w.paths[dir], w.inodes[id] = id, dir
	return nil
}

func (w *watcher) remove(dir string) {
	id, ok := w.paths[dir]
	if !ok {
		return
	}
	_ = w.fs.Remove(dir) // fails when the library or the kernel removed it first
	delete(w.paths, dir)
	delete(w.inodes, id)
}

// keep stops watching all other directories.
func (w *watcher) keep(dirs map[string]bool) {
	for dir := range w.paths {
		if !dirs[dir] {
			w.remove(dir)
		}
	}
}

// moved reports whether a watched path leads to another directory than the watched one, or to none.
func (w *watcher) moved() bool {
	for dir, id := range w.paths {
		if now, err := inodeOf(dir); err != nil || now != id {
			return true
		}
	}
	return false
}

func inodeOf(dir string) (inode, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return inode{}, err
	}
	if !info.IsDir() {
		return inode{}, syscall.ENOTDIR
	}
	st := stampOf(info)
	return inode{st.dev, st.ino}, nil
}

// isExhausted reports that the kernel has no more watches, or does not watch this file system.
func isExhausted(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENOMEM)
}

func watchProblem(err error) string {
	sysctl := "fs.inotify.max_user_instances"
	if errors.Is(err, syscall.ENOSPC) {
		sysctl = "fs.inotify.max_user_watches"
	}
	return fmt.Sprintf("%v: raise the sysctl %s; until then the directory is read every few seconds", err, sysctl)
}
