package deployment

import "berth/reconcile"

// recreate ends every old pod before the first new one is made.
func (r *rollout) recreate() reconcile.Plan {
	for _, v := range active(r.others) {
		r.resize(v, 0, "pods are recreated")
	}
	if r.podsBeside(r.newest) {
		return r.rolled()
	}
	if r.newest == nil {
		r.create()
	}
	if r.newest.size != r.desired() || r.newest.fresh {
		r.resize(r.newest, r.desired(), "no old pod is left")
	}
	return r.rolled()
}

// podsBeside tells whether other revisions have pods, ending ones included: under Recreate two versions never run at once. A revision that
// was just sized has pods until its planner has looked at it.
func (r *rollout) podsBeside(one *revision) bool {
	for _, v := range r.all() {
		if v == one || v.fresh {
			continue
		}
		s := v.rs.Status
		if v.wasSize() > 0 || s.Replicas > 0 || s.ObservedGeneration < v.rs.Generation {
			return true
		}
		if s.TerminatingReplicas != nil && *s.TerminatingReplicas > 0 {
			return true
		}
	}
	return false
}
