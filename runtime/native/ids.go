package native

import (
	"fmt"
	"hash/fnv"

	"berth/runtime"
)

// Ranges of user namespaces lie above those of systemd's containers (524,288 to 1,879,048,191) and what /etc/subuid gives out from the
// bottom, and below 2^31, where signed ids end.
const (
	firstID = 0x7000_0000
	ranges  = (1<<31 - firstID) / idRangeSize
)

// allocateIDs finds a range of ids that no pod of this instance has. It is the pod's until releaseIDs; the pod's record keeps it.
func (r *Runtime) allocateIDs(uid string) (uint32, error) {
	// Each instance begins elsewhere, so that two on one machine hardly share a range.
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.dirs.state))
	start := h.Sum32() % ranges
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range uint32(ranges) {
		base := firstID + (start+i)%ranges*idRangeSize
		if r.ids[base] == "" {
			r.ids[base] = uid
			return base, nil
		}
	}
	return 0, fmt.Errorf("cannot find free ids for a user namespace: %w", runtime.ErrNotSupported)
}

// releaseIDs gives back what a pod has. r.mu is held.
func (r *Runtime) releaseIDs(uid string) {
	for base, owner := range r.ids {
		if owner == uid {
			delete(r.ids, base)
		}
	}
}
