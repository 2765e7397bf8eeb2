package deployment

import (
	"cmp"
	"math"
	"slices"

	"berth/reconcile"
)

// paused keeps the shares of the revisions as they are; only the size is followed.
func (r *rollout) paused() reconcile.Plan {
	r.spread()
	status := r.status()
	r.forgetOld()
	return r.plan(status)
}

// scaled tells whether the wished size changed since the revisions were last sized.
func (r *rollout) scaled() bool {
	for _, v := range active(r.all()) {
		if wish, ok := v.wishedFor(); ok && wish != r.desired() {
			return true
		}
	}
	return false
}

// scale follows a change of size, without moving a rollout that is under way.
func (r *rollout) scale() reconcile.Plan {
	r.spread()
	return r.plan(r.status())
}

// spread gives the wished size to the only active revision, or shares the difference among several in proportion, so that a scale in the
// middle of a rollout does not put all its pods on one side.
//
// It waits while ReplicaSets have not yet come to their last sizes: pods that are about to go would stand beside new ones.
func (r *rollout) spread() {
	if !r.observed() || total(r.all(), standing) > total(r.all(), sizeOf) {
		return
	}
	revisions := active(r.all())
	switch {
	case len(revisions) == 0:
		if last := r.last(); last != nil && last.size != r.desired() && (r.isRolling() || !r.podsBeside(last)) {
			r.resize(last, r.desired(), "the Deployment was scaled")
		}
	case len(revisions) == 1:
		r.resize(revisions[0], r.desired(), "the Deployment was scaled")
	case r.saturated():
		for _, v := range active(r.others) {
			r.resize(v, 0, "the newest revision is complete")
		}
	case r.isRolling():
		r.share(revisions)
	default:
		for _, v := range revisions {
			r.resize(v, v.size, "")
		}
	}
}

// last is the newest revision, or while it does not exist the youngest of the others.
func (r *rollout) last() *revision {
	if r.newest != nil || len(r.others) == 0 {
		return r.newest
	}
	return r.others[len(r.others)-1]
}

func (r *rollout) saturated() bool {
	if r.newest == nil {
		return false
	}
	wish, ok := r.newest.wishedFor()
	return ok && wish == r.desired() && r.newest.size == r.desired() && r.newest.rs.Status.AvailableReplicas == r.desired()
}

// share adds or removes pods in proportion to the sizes; what rounding leaves over goes to the largest.
func (r *rollout) share(revisions []*revision) {
	allowed := int32(0)
	if r.desired() > 0 {
		allowed = r.desired() + r.surge()
	}
	diff := allowed - total(revisions, sizeOf)
	r.sortBySize(revisions, diff > 0)
	sizes := make([]int32, len(revisions))
	rest := diff
	for i, v := range revisions {
		n := r.portion(v, rest)
		sizes[i] = v.size + n
		rest -= n
	}
	for i := range sizes {
		n := max(rest, -sizes[i])
		sizes[i] += n
		rest -= n
	}
	r.spare(revisions, sizes)
	for i, v := range revisions {
		r.resize(v, sizes[i], "the Deployment was scaled")
	}
}

// spare shifts the loss from pods that serve to pods that do not, where proportion alone would leave fewer available than the strategy
// allows. (Kubernetes does not do this; it can fall below there.)
func (r *rollout) spare(revisions []*revision, sizes []int32) {
	var have, kept int32
	for i, v := range revisions {
		have += v.available()
		kept += min(v.available(), sizes[i])
	}
	short := min(have, r.desired()-r.unavailable()) - kept
	for i, v := range revisions {
		for j, other := range revisions {
			n := min(short, v.available()-sizes[i], sizes[j]-other.available())
			if n > 0 {
				sizes[i] += n
				sizes[j] -= n
				short -= n
			}
		}
	}
}

// portion is what one revision takes of the rest, which is negative when pods go. Revisions that were sized for different surges could come to
// portions of different signs; then the one that grows would have new pods before the other has lost its own, so it stays as it is. (In
// Kubernetes it grows.)
func (r *rollout) portion(v *revision, rest int32) int32 {
	if rest == 0 || v.size == 0 {
		return 0
	}
	n := r.fraction(v)
	if rest > 0 {
		return min(max(0, n), rest)
	}
	return max(min(0, n), rest)
}

func (r *rollout) fraction(v *revision) int32 {
	if r.desired() == 0 {
		return -v.size
	}
	before, ok := v.count(annotationMax)
	if !ok || before == 0 {
		before = r.was.Replicas
	}
	if before == 0 {
		return 0
	}
	exact := float64(v.size) * float64(r.desired()+r.surge()) / float64(before)
	return int32(math.Round(exact)) - v.size
}

// sortBySize puts the largest first; among equals the newer when pods are added, the older when pods go.
func (r *rollout) sortBySize(revisions []*revision, newerFirst bool) {
	slices.SortStableFunc(revisions, func(a, b *revision) int {
		age := cmp.Or(a.rs.CreationTimestamp.Compare(b.rs.CreationTimestamp.Time), cmp.Compare(a.rs.Name, b.rs.Name))
		if newerFirst {
			age = -age
		}
		return cmp.Or(cmp.Compare(b.size, a.size), age)
	})
}
