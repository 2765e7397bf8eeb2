// Package store keeps the objects of one machine in memory, tells who watches which of them changed, and writes to disk what must outlive a reboot.
//
// Objects in the store are never changed: a writer puts a new value in the place of the old one, and may share its parts. Readers get the very
// objects, without a copy, and must not change them either; with Options.Guard, for tests, the store panics when somebody did.
//
// Two lifetimes meet here. What a source states and the ReplicaSets and the like made from it are durable: each change is written to the journal before
// it can be seen, so a killed controller finds all that it acted on, and synced to the disk soon after, many changes at once. Pods live as long
// as their sandboxes, which carry them; of a Pod only the order to end is in the journal. A Pod that has lost its owner is durable: nobody would make it again.
package store

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"berth/manifests"
	"berth/reconcile"
)

// Errors that callers branch on.
var (
	// ErrNotFound means that the store has no such object, or one of another UID.
	ErrNotFound = errors.New("not found")
	// ErrExists means that an object of that name is there already.
	ErrExists = errors.New("exists already")
)

// Object is what the store keeps: any Kubernetes object.
type Object interface {
	metav1.Object
	kruntime.Object
}

// Source says which file states an object, and in which version.
type Source struct {
	Origin manifests.Origin `json:"origin"`
	// Hash is that of the manifests.Object.
	Hash string `json:"hash"`
	// Held is true while the removal of the object waits for consent.
	Held bool `json:"held,omitempty"`
	// Alone is true when somebody deletes the object and not what it has made: its file is about to lose it.
	Alone bool `json:"alone,omitempty"`
}

// Item is one object with its name and its source; Source is nil for what no file states.
type Item struct {
	Key    reconcile.Key
	Object Object
	Source *Source
}

// Change names an object that was made, changed or removed, and its controller, if it has one.
type Change struct {
	Key, Owner reconcile.Key
	UID        types.UID
	Deleted    bool
	// Version is the resource version that the change made. Changes are told in its order, without gaps.
	Version uint64
	// Old and New are what was there before and what is there now; nil for nothing. They must not be changed.
	Old, New Object
}

// Options of a store. The zero value keeps everything in memory.
type Options struct {
	// Dir is where the journal is; "" for no journal.
	Dir string
	// ReadOnly reads the journal and leaves it as it is.
	ReadOnly bool
	Clock    clock.WithDelayedExecution
	// NewUID makes UIDs; random ones by default.
	NewUID func() types.UID
	// New makes an empty object to decode into. What it does not know is kept as it is.
	New func(schema.GroupVersionKind) (kruntime.Object, error)
	// Warn is told what is wrong with the files, in one line.
	Warn func(string)
	// Over is told the same line again when it holds no more.
	Over func(string)
	// Guard panics when a stored object is changed in place. It is slow.
	Guard bool
}

// Store is safe for concurrent use. Writers take turns; readers never wait for a disk.
type Store struct {
	opts    Options
	journal *journal // nil without Dir

	writing sync.Mutex // held by writers, also while they write to the journal

	mu       sync.RWMutex // guards what follows; never held over I/O
	items    map[reconcile.Key]*Item
	byUID    map[types.UID]reconcile.Key
	byOwner  map[types.UID]map[reconcile.Key]struct{}
	byKind   map[string]map[reconcile.Key]struct{}
	endings  map[types.UID]Ending
	evicted  map[types.UID]Eviction
	known    map[types.UID]map[string]Known
	version  uint64
	reserved uint64 // versions up to this one are never given out again after a restart
	watchers []func(Change)
	guard    map[Object]Object
}

// setAside is how many resource versions one journal record sets aside: so many changes of status cost one write of 40 bytes.
const setAside = 10_000

// Open reads what the directory has. Damage is reported to Options.Warn and never keeps the store from opening; an error means that
// the directory cannot be used at all, and the store then works in memory.
func Open(opts Options) (*Store, error) {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.NewUID == nil {
		opts.NewUID = func() types.UID { return types.UID(uuid.NewString()) }
	}
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	if opts.Over == nil {
		opts.Over = func(string) {}
	}
	s := &Store{
		opts:    opts,
		items:   map[reconcile.Key]*Item{},
		byUID:   map[types.UID]reconcile.Key{},
		byOwner: map[types.UID]map[reconcile.Key]struct{}{},
		byKind:  map[string]map[reconcile.Key]struct{}{},
		endings: map[types.UID]Ending{}, evicted: map[types.UID]Eviction{},
		known:   map[types.UID]map[string]Known{},
		guard:   map[Object]Object{},
		version: 1, // 0 means any version to those who list and watch
	}
	if opts.Dir == "" {
		return s, nil
	}
	return s, s.load()
}

// Close syncs the journal and ends it. Changes after Close are kept in memory only.
func (s *Store) Close() error {
	s.writing.Lock()
	j := s.journal
	s.journal = nil
	s.writing.Unlock()
	if j == nil {
		return nil
	}
	return j.close()
}

// Sync returns when every change so far is on the disk.
func (s *Store) Sync() error {
	s.writing.Lock()
	j := s.journal
	s.writing.Unlock()
	if j == nil {
		return nil
	}
	return j.sync()
}

// Watch calls fn after each change, from the goroutine of its writer and without locks. It must be called before the first change. fn must not block.
func (s *Store) Watch(fn func(Change)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, fn)
}

// Create adds an object, which is the store's from then on. UID and creationTimestamp are set where they are empty, generation where it is 0.
// It returns ErrExists when the key is taken.
func (s *Store) Create(key reconcile.Key, obj Object, src *Source) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, ok := s.Get(key); ok {
		return fmt.Errorf("cannot create %s: %w", key, ErrExists)
	}
	if obj.GetUID() == "" {
		obj.SetUID(s.opts.NewUID())
	}
	if t := obj.GetCreationTimestamp(); t.IsZero() {
		obj.SetCreationTimestamp(metav1.NewTime(s.opts.Clock.Now()))
	}
	if obj.GetGeneration() == 0 {
		obj.SetGeneration(1)
	}
	if like := s.sibling(key.Kind, obj); like != nil {
		share(obj, like)
	}
	it := &Item{Key: key, Object: obj, Source: src}
	s.commit(it, durable(it))
	return nil
}

// Update replaces an object. change gets the item and returns the new one: a fresh Object that may share parts with the old, or the old Item as it
// is for no change. It runs under the writers' lock: it must be quick and must not call the store. UID, creationTimestamp and generation
// are kept, the latter counted up when the spec differs, or what is asked for beside it. A change of nothing but a status that can be observed again is not
// written to disk.
func (s *Store) Update(key reconcile.Key, change func(Item) (Item, error)) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	old, ok := s.Get(key)
	if !ok {
		return fmt.Errorf("cannot change %s: %w", key, ErrNotFound)
	}
	next, err := change(old)
	if err != nil {
		return err
	}
	if next.Object == old.Object {
		if next.Source == old.Source {
			return nil
		}
		next.Key = key
		s.commit(&next, durable(&next))
		return nil
	}
	next.Key = key
	next.Object.SetUID(old.Object.GetUID())
	next.Object.SetCreationTimestamp(old.Object.GetCreationTimestamp())
	next.Object.SetGeneration(old.Object.GetGeneration())
	share(next.Object, old.Object)
	respec := key.Kind != reconcile.KindPod && !sameWish(old, next) // a Pod's spec does not change
	if respec {
		next.Object.SetGeneration(old.Object.GetGeneration() + 1)
	}
	write := durable(&next) && (respec || next.Source != old.Source || !sameMeta(old.Object, next.Object) || !sameStatus(old.Object, next.Object) ||
		key.Kind == reconcile.KindPod && !sameSpec(old, next)) // it may get ephemeral containers
	if !durable(&next) && durable(&old) { // a Pod that is adopted
		s.append(record{Op: opDelete, Key: &key})
	}
	s.commit(&next, write)
	return nil
}

// Delete removes an object; uid "" means whichever is there. Deleting what does not exist is not an error.
func (s *Store) Delete(key reconcile.Key, uid types.UID) {
	s.DeleteIf(key, func(it Item) bool { return uid == "" || it.Object.GetUID() == uid })
}

// DeleteIf removes an object if it is still one to remove, and tells whether there is none now. remove runs under the writers' lock: it must be
// quick and must not call the store.
func (s *Store) DeleteIf(key reconcile.Key, remove func(Item) bool) (gone bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	it, ok := s.Get(key)
	if !ok {
		return true
	}
	if !remove(it) {
		return false
	}
	s.reserve(s.Version() + 1)
	if durable(&it) {
		s.append(record{Op: opDelete, Key: &key})
	}
	s.mu.Lock()
	if s.forgetPod(it.Object.GetUID()) {
		defer s.append(record{Op: opEnded, UID: it.Object.GetUID()})
	}
	s.forget(&it)
	s.version++
	version, watchers := s.version, s.watchers
	s.mu.Unlock()
	tell(watchers, Change{Key: it.Key, Deleted: true, Version: version, Old: it.Object})
	return true
}

// commit writes an item to the journal if it must be, then makes it visible, then tells. The order is what survival rests on.
func (s *Store) commit(it *Item, write bool) {
	s.mu.RLock()
	version := s.version + 1
	s.mu.RUnlock()
	it.Object = s.versioned(it, version)
	s.reserve(version)
	if write {
		s.append(putRecord(it))
	}
	s.mu.Lock()
	s.version = version
	change := Change{Key: it.Key, Version: version, New: it.Object}
	if old := s.items[it.Key]; old != nil {
		change.Old = old.Object
		s.forget(old)
	}
	s.remember(it)
	watchers := s.watchers
	s.mu.Unlock()
	tell(watchers, change)
}

// reserve sets a version aside before anybody can see it.
func (s *Store) reserve(version uint64) {
	if version > s.reserved {
		s.reserved = version + setAside
		s.append(record{Op: opMark, Version: s.reserved})
	}
}

// versioned sets the resource version, on a copy when the object is in the store already.
func (s *Store) versioned(it *Item, version uint64) Object {
	obj := it.Object
	if old, ok := s.Get(it.Key); ok && old.Object == obj {
		obj = obj.DeepCopyObject().(Object)
	}
	obj.SetResourceVersion(strconv.FormatUint(version, 10))
	return obj
}

// append writes to the journal. What goes wrong there is reported and repaired there: the store goes on in memory.
func (s *Store) append(r record) {
	if s.journal != nil {
		s.journal.append(r)
	}
}
