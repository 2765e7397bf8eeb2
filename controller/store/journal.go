package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Judgements about the journal.
const (
	// syncDelay is how long a change may wait for its fsync, together with all others of that time. What a kill -9 leaves is
	// complete without any; only a power cut can take the last changes, and then the files state them again.
	syncDelay = 25 * time.Millisecond
	// retryDelay is the pause before writing anew what a full or broken disk refused.
	retryDelay = 10 * time.Second
	// compactFloor is the size below which a generation is never written anew because of its history.
	compactFloor = 1 << 20
	suffix       = ".log"
	// keepDamaged is how many damaged files are kept aside to look at.
	keepDamaged = 3
)

// journal is the newest generation of the files in Dir. Each generation N.log begins with a whole picture and goes on with changes; the one
// before it is kept. Its methods but sync are called under the store's writing lock.
type journal struct {
	dir     string
	clock   clock.WithDelayedExecution
	warn    func(string)
	over    func(string)    // takes a warning back
	picture func() []record // a whole picture; called under the store's writing lock
	locked  func(func())    // runs a function under the store's writing lock

	mu         sync.Mutex // guards the fields below; not held over an fsync
	file       *os.File
	generation int
	size, base int64 // bytes in all, and of the picture at the beginning
	timer      clock.Timer
	broken     error  // why the file does not have everything
	warned     string // what was said of that
	unsynced   bool
	closed     bool
}

// append adds a record. A failure is reported once and repaired by a new generation later.
func (j *journal) append(r record) {
	line, err := r.encode()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil && j.broken == nil {
		var n int
		n, err = j.file.Write(line)
		j.size += int64(n)
	}
	if err != nil {
		j.fail(err)
	}
	j.unsynced = true
	j.schedule(syncDelay)
}

func (j *journal) fail(err error) {
	if j.broken == nil {
		j.warned = fmt.Sprintf("cannot save the state of objects in %s: %v; going on without, trying again every %s", j.dir, err, retryDelay)
		j.warn(j.warned)
	}
	j.broken = err
}

func (j *journal) schedule(d time.Duration) {
	if j.timer != nil || j.closed {
		return
	}
	j.timer = j.clock.AfterFunc(d, func() {
		j.mu.Lock()
		j.timer = nil
		j.mu.Unlock()
		if err := j.sync(); err != nil {
			j.mu.Lock()
			j.fail(err)
			j.schedule(retryDelay)
			j.mu.Unlock()
		}
	})
}

// sync writes a new generation if the file needs one, and brings what is written to the disk.
func (j *journal) sync() error {
	j.mu.Lock()
	file, needed, closed, base, size := j.file, j.unsynced, j.closed, j.base, j.size
	stale := j.broken != nil || !j.inPlace() || size > compactFloor && size > 3*base
	j.unsynced = false
	j.mu.Unlock()
	if closed || !needed && !stale {
		return nil
	}
	if stale {
		var err error
		j.locked(func() { err = j.rewrite() })
		return err
	}
	if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("cannot sync %s: %w", file.Name(), err)
	}
	return nil
}

// inPlace tells whether the open file is still the one that the next start will read: somebody may have removed the directory.
func (j *journal) inPlace() bool {
	there, err := os.Stat(j.path(j.generation))
	if err != nil {
		return false
	}
	mine, err := j.file.Stat()
	return err == nil && os.SameFile(there, mine)
}

// rewrite makes a new generation from a whole picture and drops all but the one before it.
func (j *journal) rewrite() error {
	err := j.replace()
	if err == nil {
		j.prune()
	}
	return err
}

// replace makes a new generation from a whole picture, and leaves all others.
func (j *journal) replace() error {
	records := j.picture()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	next := j.generation + 1
	file, size, err := writeGeneration(j.dir, next, records)
	if err != nil {
		return err
	}
	if j.file != nil {
		_ = j.file.Close() // everything in it is in the new one
	}
	if j.broken != nil {
		j.over(j.warned)
	}
	j.file, j.generation, j.size, j.base, j.broken, j.unsynced = file, next, size, size, nil, false
	return nil
}

// prune removes generations older than the previous one.
func (j *journal) prune() {
	generations, _ := generations(j.dir)
	var older int
	for _, g := range slices.Backward(generations) {
		if g >= j.generation {
			continue
		}
		if older++; older > 1 {
			_ = os.Remove(j.path(g)) // stays for the next time
		}
	}
}

// dropHistory removes every generation but the newest.
func (j *journal) dropHistory() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	old, err := generations(j.dir)
	for _, g := range old {
		if g != j.generation {
			err = errors.Join(err, os.Remove(j.path(g)))
		}
	}
	return err
}

func (j *journal) close() error {
	err := j.sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	if j.timer != nil {
		j.timer.Stop()
	}
	if j.file == nil {
		return err
	}
	return errors.Join(err, j.file.Close())
}

func (j *journal) path(generation int) string { return generationPath(j.dir, generation) }

func generationPath(dir string, generation int) string {
	return filepath.Join(dir, strconv.Itoa(generation)+suffix)
}

// writeGeneration writes a picture, synced, under its final name.
func writeGeneration(dir string, generation int, records []record) (file *os.File, size int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, 0, fmt.Errorf("cannot make %s: %w", dir, err)
	}
	tmp := generationPath(dir, generation) + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot write a new generation: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(tmp)
		}
	}()
	var data []byte
	all := append([]record{{Op: opHeader, Version: formatVersion, Count: generation}}, records...)
	all = append(all, record{Op: opBase, Count: len(all)})
	for _, r := range all {
		line, err := r.encode()
		if err != nil {
			return nil, 0, err
		}
		data = append(data, line...)
	}
	if _, err := f.Write(data); err != nil {
		return nil, 0, fmt.Errorf("cannot write %s: %w", tmp, err)
	}
	if err := f.Sync(); err != nil {
		return nil, 0, fmt.Errorf("cannot sync %s: %w", tmp, err)
	}
	if err := os.Rename(tmp, generationPath(dir, generation)); err != nil {
		return nil, 0, fmt.Errorf("cannot put a new generation in place: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return nil, 0, err
	}
	return f, int64(len(data)), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

// generations lists the numbers of all generations in a directory, oldest first.
func generations(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", dir, err)
	}
	var out []int
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(base); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}
