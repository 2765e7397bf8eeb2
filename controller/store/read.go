package store

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// Get returns the item of a key. It must not be changed.
func (s *Store) Get(key reconcile.Key) (Item, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := s.items[key]
	if it == nil {
		return Item{}, false
	}
	s.check(it.Object)
	return *it, true
}

// ByUID names the object with a UID.
func (s *Store) ByUID(uid types.UID) (reconcile.Key, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	key, ok := s.byUID[uid]
	return key, ok
}

// List returns the items of a kind, sorted by namespace and name; "" means all kinds.
func (s *Store) List(kind string) []Item {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Item
	if kind == "" {
		list = make([]Item, 0, len(s.items))
		for _, it := range s.items {
			list = append(list, *it)
		}
	}
	for key := range s.byKind[kind] {
		list = append(list, *s.items[key])
	}
	slices.SortFunc(list, func(a, b Item) int { return compare(a.Key, b.Key) })
	return list
}

// Each calls f for every object, in no order. f must not use the store.
func (s *Store) Each(f func(Item)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, it := range s.items {
		f(*it)
	}
}

// ListAt is List with the resource version of which it is the picture.
func (s *Store) ListAt(kind string) ([]Item, uint64) {
	s.mu.RLock()
	list, version := make([]Item, 0, len(s.byKind[kind])), s.version
	for key := range s.byKind[kind] {
		list = append(list, *s.items[key])
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b Item) int { return compare(a.Key, b.Key) })
	return list, version
}

// OwnedBy returns the items whose controller has the UID, sorted; "" means orphans.
func (s *Store) OwnedBy(uid types.UID) []Item {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Item, 0, len(s.byOwner[uid]))
	for key := range s.byOwner[uid] {
		list = append(list, *s.items[key])
	}
	slices.SortFunc(list, func(a, b Item) int { return compare(a.Key, b.Key) })
	return list
}

// EachOwned calls f for what OwnedBy returns, in no order. f must not use the store.
func (s *Store) EachOwned(uid types.UID, f func(Item)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key := range s.byOwner[uid] {
		f(*s.items[key])
	}
}

// Len is the number of objects of a kind.
func (s *Store) Len(kind string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byKind[kind])
}

// Version is the newest resource version.
func (s *Store) Version() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version
}

// Get returns an object of type T, or its zero value when there is none of that key and type.
func Get[T Object](s *Store, key reconcile.Key) (T, bool) {
	it, ok := s.Get(key)
	if !ok {
		var zero T
		return zero, false
	}
	o, ok := it.Object.(T)
	return o, ok
}
