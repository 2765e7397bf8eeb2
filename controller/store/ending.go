package store

import (
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

// KeepEndings drops the orders for Pods that are not among live: their sandboxes are gone.
func (s *Store) KeepEndings(live map[types.UID]bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	var gone []types.UID
	for uid := range s.endings {
		if !live[uid] {
			gone = append(gone, uid)
			delete(s.endings, uid)
		}
	}
	s.mu.Unlock()
	for _, uid := range gone {
		s.append(record{Op: opEnded, UID: uid})
	}
}
