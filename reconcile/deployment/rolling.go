package deployment

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
)

// rolling exchanges pods step by step: new ones as far as the surge allows, old ones as far as the rest stays available.
func (r *rollout) rolling() reconcile.Plan {
	if r.newest == nil {
		r.create()
	}
	r.growNewest()
	r.shrinkOthers()
	return r.rolled()
}

// growNewest sizes the newest revision: at most the wish, and all revisions together at most the wish and the surge.
func (r *rollout) growNewest() {
	size, wish := r.newest.size, r.desired()
	switch {
	case size > wish:
		size = wish
	case size < wish && r.observed():
		room := max(0, wish+r.surge()-total(r.all(), standing))
		size += min(room, wish-size)
	}
	if size != r.newest.size || r.newest.fresh {
		r.resize(r.newest, size, "the rollout goes on")
	}
}

// shrinkOthers takes pods from old revisions: first those that serve nobody, the ones that are not even ready before the ones that only
// have not been so for long, then as many as may be missing.
func (r *rollout) shrinkOthers() {
	if !r.observed() {
		return
	}
	least := r.desired() - r.unavailable()
	fresh := r.fresh[r.newest.rs.Name]
	fresh.Pods = min(fresh.Pods, r.newest.available())
	starting := r.newest.size - r.newest.available() + fresh.Pods
	if fresh.Pods > 0 && len(active(r.others)) > 0 {
		r.patient = fresh.Wait
	}
	spare := total(r.all(), sizeOf) - least - starting
	if spare <= 0 {
		return
	}
	spare = r.shrinkUnhealthy(spare, func(v *revision) int32 { return min(v.rs.Status.ReadyReplicas, v.size) })
	r.shrinkUnhealthy(spare, availableOf)
	spare = total(r.all(), availableOf) - least - fresh.Pods
	for _, v := range active(r.others) {
		n := min(spare, v.size)
		if n > 0 {
			r.resize(v, v.size-n, "newer pods are available")
			spare -= n
		}
	}
}

// shrinkUnhealthy takes pods that are not counted as healthy from old revisions, oldest first, and returns how many more may go.
func (r *rollout) shrinkUnhealthy(spare int32, healthy func(*revision) int32) int32 {
	for _, v := range active(r.others) {
		n := min(spare, v.size-healthy(v))
		if n > 0 {
			r.resize(v, v.size-n, "its unhealthy pods go first")
			spare -= n
		}
	}
	return spare
}

// observed tells that the counts are those of the sizes: a revision that was just sized, or whose status is not known again yet after a
// restart, must not be judged by what it was; nor one whose pods have to be ready for longer from now on.
func (r *rollout) observed() bool {
	for _, v := range r.all() {
		if !v.fresh && (v.rs.Status.ObservedGeneration < v.rs.Generation || v.minReady > v.rs.Spec.MinReadySeconds) {
			return false
		}
	}
	return true
}

func (r *rollout) isRolling() bool {
	return r.d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

// surge is how many pods more than wished may exist.
func (r *rollout) surge() int32 {
	surge, _ := r.bounds()
	return surge
}

// unavailable is how many pods fewer than wished may be available.
func (r *rollout) unavailable() int32 {
	_, unavailable := r.bounds()
	return min(unavailable, r.desired())
}

// bounds resolves percentages as Kubernetes does: the surge is rounded up, the unavailable down, and both zero would never move.
func (r *rollout) bounds() (surge, unavailable int32) {
	if !r.isRolling() {
		return 0, 0
	}
	if u := r.d.Spec.Strategy.RollingUpdate; u != nil {
		surge = scaled(u.MaxSurge, r.desired(), true)
		unavailable = scaled(u.MaxUnavailable, r.desired(), false)
	}
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// scaled reads a number or percentage; what cannot be read was refused by validation and counts as 0.
func scaled(v *intstr.IntOrString, of int32, up bool) int32 {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, int(of), up)
	if err != nil {
		return 0
	}
	return int32(n)
}
