package store

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Known is what cannot be observed of a running container, only remembered. It outlives the controller but not the machine: without it
// every new controller would have to guess which containers are ready until their probes have said so.
type Known struct {
	Attempt uint32 `json:"attempt"`
	Started bool   `json:"started,omitempty"`
	Ready   bool   `json:"ready,omitempty"`
	// ReadySince is when it last became ready.
	ReadySince time.Time `json:"readySince,omitzero"`
	// HookedAt is when its postStart hook was done.
	HookedAt time.Time `json:"hookedAt,omitzero"`
}

func (k Known) equal(o Known) bool {
	return k.Attempt == o.Attempt && k.Started == o.Started && k.Ready == o.Ready && k.ReadySince.Equal(o.ReadySince) && k.HookedAt.Equal(o.HookedAt)
}

// SetKnown remembers what is known of a Pod's containers, by name, until the Pod is deleted. known is not changed later. A Pod that is not
// there is not an error.
func (s *Store) SetKnown(uid types.UID, known map[string]Known) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	_, there := s.byUID[uid]
	if !there || maps.EqualFunc(s.known[uid], known, Known.equal) {
		s.mu.Unlock()
		return
	}
	s.known[uid] = known
	s.mu.Unlock()
	s.append(record{Op: opKnown, UID: uid, Known: known})
}

// KnownOf returns what is remembered of a Pod's containers. Nobody changes it.
func (s *Store) KnownOf(uid types.UID) map[string]Known {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.known[uid]
}
