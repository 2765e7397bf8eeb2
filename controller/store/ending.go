package store

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Ending is the order that a Pod shall end, which outlives the controller but not the machine.
type Ending struct {
	// At is the deletionTimestamp, Grace the deletionGracePeriodSeconds.
	At    time.Time `json:"at"`
	Grace int64     `json:"grace"`
}

// SetEnding records the order to end a Pod, until the Pod is deleted.
func (s *Store) SetEnding(uid types.UID, e Ending) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	s.endings[uid] = e
	s.mu.Unlock()
	s.append(record{Op: opEnding, UID: uid, Ending: &e})
}

// EndingOf returns the order to end the Pod with a UID.
func (s *Store) EndingOf(uid types.UID) (Ending, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.endings[uid]
	return e, ok
}

// Eviction is why and when a Pod was ended for what it did to the machine. Like an Ending it outlives the controller but not the machine.
type Eviction struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"`
}

// SetEviction records that a Pod is evicted, until the Pod is deleted. The first word stands.
func (s *Store) SetEviction(uid types.UID, e Eviction) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	_, had := s.evicted[uid]
	if !had {
		s.evicted[uid] = e
	}
	s.mu.Unlock()
	if !had {
		s.append(record{Op: opEvict, UID: uid, Evicted: &e})
	}
}

// EvictionOf returns why the Pod with a UID is evicted.
func (s *Store) EvictionOf(uid types.UID) (Eviction, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.evicted[uid]
	return e, ok
}

// KeepPods drops the orders for Pods that are not among live, why they were evicted, and what is known of their containers: their sandboxes are gone.
func (s *Store) KeepPods(live map[types.UID]bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	var gone []types.UID
	for _, uid := range s.remembered() {
		if !live[uid] {
			gone = append(gone, uid)
			s.forgetPod(uid)
		}
	}
	s.mu.Unlock()
	for _, uid := range gone {
		s.append(record{Op: opEnded, UID: uid})
	}
}

// forgetPod drops what is remembered of a Pod, and tells whether there was anything.
func (s *Store) forgetPod(uid types.UID) bool {
	_, ending := s.endings[uid]
	_, evicted := s.evicted[uid]
	_, known := s.known[uid]
	delete(s.endings, uid)
	delete(s.evicted, uid)
	delete(s.known, uid)
	return ending || evicted || known
}

// remembered lists the Pods that something is remembered of, sorted.
func (s *Store) remembered() []types.UID {
	uids := slices.AppendSeq(slices.Collect(maps.Keys(s.endings)), maps.Keys(s.known))
	uids = slices.AppendSeq(uids, maps.Keys(s.evicted))
	slices.Sort(uids)
	return slices.Compact(uids)
}
