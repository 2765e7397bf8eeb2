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

// KeepPods drops the orders for Pods that are not among live, and what is known of their containers: their sandboxes are gone.
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
	_, known := s.known[uid]
	delete(s.endings, uid)
	delete(s.known, uid)
	return ending || known
}

// remembered lists the Pods that something is remembered of, sorted.
func (s *Store) remembered() []types.UID {
	uids := slices.AppendSeq(slices.Collect(maps.Keys(s.endings)), maps.Keys(s.known))
	slices.Sort(uids)
	return slices.Compact(uids)
}
