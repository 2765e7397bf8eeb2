package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// image is what one generation says, or two laid over each other.
type image struct {
	items   map[reconcile.Key]*Item
	endings map[types.UID]Ending
	evicted map[types.UID]Eviction
	known   map[types.UID]map[string]Known
	version uint64
	// damage counts the lines that could not be read; torn means that only the last line was cut, as a crash leaves it.
	damage int
	torn   bool
	size   int64
}

func newImage() *image {
	return &image{items: map[reconcile.Key]*Item{}, endings: map[types.UID]Ending{}, evicted: map[types.UID]Eviction{}, known: map[types.UID]map[string]Known{}}
}

// load reads the newest generation. Where it is damaged, what files stated is completed from the one before, and the damaged file is put aside.
func (s *Store) load() error {
	found, err := generations(s.opts.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	img := newImage()
	newest, damaged := 0, []int(nil)
	for _, g := range slices.Backward(found) {
		newest = max(newest, g)
		one := s.read(g)
		img.lay(one)
		if one.damage == 0 {
			img.size = one.size
			break
		}
		damaged = append(damaged, g)
	}
	s.adopt(img)
	if s.opts.ReadOnly {
		return nil
	}
	s.openJournal(newest, damaged, img)
	return nil
}

// openJournal goes on with the newest generation, or begins a new one where that is damaged, cut or not there. A disk that is full now, which is also what
// cuts a last line, is tried again for as long as it takes; what was read stays where it is until then.
func (s *Store) openJournal(newest int, damaged []int, img *image) {
	j := &journal{
		dir: s.opts.Dir, clock: s.opts.Clock, warn: s.opts.Warn, over: s.opts.Over, picture: s.picture, generation: newest,
		locked: func(fn func()) { s.writing.Lock(); defer s.writing.Unlock(); fn() },
	}
	s.journal = j
	if newest > 0 && len(damaged) == 0 && !img.torn {
		f, err := os.OpenFile(j.path(newest), os.O_WRONLY|os.O_APPEND, 0o600)
		if err == nil {
			j.file, j.size, j.base = f, img.size, img.size
			return
		}
	}
	if err := j.replace(); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.fail(err)
		j.schedule(retryDelay)
		return
	}
	for _, g := range damaged {
		s.setAside(j.path(g))
	}
	j.prune()
}

// setAside renames a damaged file, so that it can be looked at, and removes older ones of that kind.
func (s *Store) setAside(path string) {
	aside := fmt.Sprintf("%s.damaged-%d", path, s.opts.Clock.Now().UnixNano())
	if err := os.Rename(path, aside); err != nil {
		s.opts.Warn(fmt.Sprintf("cannot put %s aside: %v", path, err))
		return
	}
	s.opts.Warn(fmt.Sprintf("%s was damaged: it is kept as %s; what it lost is completed from the generation before and from the manifests", path, filepath.Base(aside)))
	old, _ := filepath.Glob(filepath.Join(s.opts.Dir, "*.damaged-*"))
	slices.SortFunc(old, func(a, b string) int { return strings.Compare(age(a), age(b)) })
	for _, f := range old[:max(0, len(old)-keepDamaged)] {
		_ = os.Remove(f)
	}
}

func age(path string) string { return path[strings.LastIndexByte(path, '-')+1:] }

// read reads one generation as far as it can be read.
func (s *Store) read(generation int) *image {
	img := newImage()
	path := generationPath(s.opts.Dir, generation)
	data, err := os.ReadFile(path)
	if err != nil {
		s.opts.Warn(fmt.Sprintf("cannot read %s: %v", path, err))
		img.damage++
		return img
	}
	img.size = int64(len(data))
	lines := bytes.SplitAfter(data, []byte{'\n'})
	whole, count := false, 0
	for i, line := range lines {
		if len(line) == 0 {
			continue
		}
		r, err := parse(bytes.TrimSuffix(line, []byte{'\n'}))
		if err == nil {
			err = img.apply(r, s)
		}
		if err != nil || line[len(line)-1] != '\n' {
			if i == len(lines)-1 && line[len(line)-1] != '\n' && whole {
				img.torn = true // the end of a crash: whatever was in it had not been acted on
				continue
			}
			img.damage++
			s.opts.Warn(fmt.Sprintf("%s line %d: left out: %v", path, i+1, errors.Join(err)))
			continue
		}
		if r.Op == opBase {
			whole = r.Count == count
		}
		count++
	}
	if !whole {
		img.damage++
		s.opts.Warn(fmt.Sprintf("%s is not whole", path))
	}
	return img
}

func (img *image) apply(r record, s *Store) error {
	switch r.Op {
	case opPut:
		obj, err := r.object(s.opts.New)
		if err != nil {
			return err
		}
		img.items[*r.Key] = &Item{Key: *r.Key, Object: obj, Source: r.Source}
	case opDelete:
		if r.Key == nil {
			return errors.New("cannot read a delete: it has no key")
		}
		delete(img.items, *r.Key)
	case opMark:
		img.version = max(img.version, r.Version)
	case opEnding:
		if r.Ending != nil {
			img.endings[r.UID] = *r.Ending
		}
	case opKnown:
		img.known[r.UID] = r.Known
	case opEvict:
		if r.Evicted != nil {
			img.evicted[r.UID] = *r.Evicted
		}
	case opEnded:
		delete(img.endings, r.UID)
		delete(img.evicted, r.UID)
		delete(img.known, r.UID)
	case opHeader:
		if r.Version != formatVersion {
			return fmt.Errorf("cannot read format %d", r.Version)
		}
	case opBase:
	default:
		return fmt.Errorf("cannot read a record of kind %q", r.Op)
	}
	return nil
}

// lay puts what an older generation knows of under this one: what files stated, and marks. ReplicaSets of the past are not brought back.
func (img *image) lay(older *image) {
	first := len(img.items) == 0 && img.version == 0
	for key, it := range older.items {
		if img.items[key] == nil && (first || it.Source != nil) {
			img.items[key] = it
		}
	}
	for uid, e := range older.endings {
		if _, ok := img.endings[uid]; !ok {
			img.endings[uid] = e
		}
	}
	for uid, e := range older.evicted {
		if _, ok := img.evicted[uid]; !ok {
			img.evicted[uid] = e
		}
	}
	for uid, k := range older.known {
		if _, ok := img.known[uid]; !ok {
			img.known[uid] = k
		}
	}
	img.version = max(img.version, older.version)
	img.torn = img.torn || older.torn
}

// adopt makes what was read the store's content.
func (s *Store) adopt(img *image) {
	for _, key := range slices.SortedFunc(maps.Keys(img.items), compare) {
		it := img.items[key]
		uid := it.Object.GetUID()
		if other, taken := s.byUID[uid]; taken || uid == "" {
			s.opts.Warn(fmt.Sprintf("%s is left out: its UID %q is that of %s", key, uid, other))
			continue
		}
		s.remember(it)
	}
	s.endings, s.evicted, s.known = img.endings, img.evicted, img.known
	s.version, s.reserved = max(s.version, img.version), img.version
}

// picture is everything that a new generation begins with.
func (s *Store) picture() []record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	records := []record{{Op: opMark, Version: s.reserved}}
	for _, key := range slices.SortedFunc(maps.Keys(s.items), compare) {
		if it := s.items[key]; durable(it) {
			records = append(records, putRecord(it))
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(s.endings)) {
		e := s.endings[uid]
		e.At = e.At.Round(time.Nanosecond)
		records = append(records, record{Op: opEnding, UID: uid, Ending: &e})
	}
	for _, uid := range slices.Sorted(maps.Keys(s.evicted)) {
		e := s.evicted[uid]
		records = append(records, record{Op: opEvict, UID: uid, Evicted: &e})
	}
	for _, uid := range slices.Sorted(maps.Keys(s.known)) {
		records = append(records, record{Op: opKnown, UID: uid, Known: s.known[uid]})
	}
	return records
}

// Forget drops everything from memory and disk, without telling anybody: the machine is to be as before the first start.
func (s *Store) Forget() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	clear(s.items)
	clear(s.byUID)
	clear(s.byKind)
	clear(s.byOwner)
	clear(s.endings)
	clear(s.evicted)
	clear(s.known)
	clear(s.guard)
	s.mu.Unlock()
	if s.journal == nil {
		return nil
	}
	if err := s.journal.rewrite(); err != nil {
		return err
	}
	return s.journal.dropHistory()
}
