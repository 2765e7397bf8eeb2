// Package deployment decides how a Deployment's revisions, its ReplicaSets, grow and shrink until the newest one carries everything.
package deployment

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/readiness"
	"berth/reconcile/request"
)

// Input is what is known of one Deployment. Nothing in it is changed.
type Input struct {
	Deployment *appsv1.Deployment
	// ReplicaSets are all that the Deployment owns, with the status their planner gave them.
	ReplicaSets []*appsv1.ReplicaSet
	// Config is what the ConfigMaps and Secrets that the Deployment's template uses say now.
	Config config.Fingerprint
	// Trouble is what keeps the pods of a ReplicaSet from being ready, in a sentence by its name, as far as it is known. It is only repeated.
	Trouble map[string]string
	// Pulling names the ReplicaSets with pods that wait for an image which is on its way at this moment.
	Pulling map[string]bool
	// Fresh are, by ReplicaSet, those of its pods that count as available and cannot be relied on yet. It need not be known but in a rollout.
	Fresh map[string]Fresh
	Now   time.Time
}

// Fresh are pods that have been ready for a moment only: Pods of them, the first of which has held for long enough after Wait.
type Fresh struct {
	Pods int32
	Wait time.Duration
}

// FreshOf finds the fresh ones among the pods of a ReplicaSet.
func FreshOf(pods []*corev1.Pod, now time.Time) (f Fresh) {
	for _, p := range pods {
		if p.DeletionTimestamp != nil || !readiness.Ready(p) {
			continue
		}
		if wait := readiness.UntilSteady(p, now); wait > 0 {
			if f.Pods++; f.Wait == 0 || wait < f.Wait {
				f.Wait = wait
			}
		}
	}
	return f
}

// Plan returns the next step towards the Deployment's wish: sizes of its ReplicaSets, its status, and when to look at its deadline.
// It never takes away more available pods, and never adds more pods, than the strategy allows.
//
// Mostly the wish is the Deployment's template. A hold stands for another revision, until the file states something else: the user's, or the
// one that Plan itself asks for when a rollout has failed its deadline and an earlier revision was ready.
func Plan(in Input) reconcile.Plan {
	r := newRollout(in)
	switch {
	case r.d.DeletionTimestamp != nil:
		return r.plan(r.status())
	case r.isPaused():
		return r.paused()
	case r.scaled():
		return r.scale()
	case r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		return r.recreate()
	default:
		return r.rolling()
	}
}

// rollout is one pass over one Deployment: the revisions as they are, and as they shall be.
type rollout struct {
	d       *appsv1.Deployment
	was     appsv1.DeploymentStatus // what the last pass left; its conditions are replaced, never written into
	config  config.Fingerprint      // nil when the Deployment does not follow it
	trouble map[string]string
	pulling map[string]bool
	fresh   map[string]Fresh
	patient time.Duration // how long old pods stay only because new ones are fresh
	now     time.Time

	hold     *request.Hold          // nil while the file's own revision runs
	template corev1.PodTemplateSpec // of the revision that shall run

	newest    *revision   // the one that shall run; nil while there is none
	others    []*revision // oldest first
	every     []*revision // what all has listed
	collision *int32

	back    *request.Hold // what this pass has decided to go back to
	waiting bool          // with that decision, for an image
}

// revision is a ReplicaSet and what shall become of it.
type revision struct {
	rs          *appsv1.ReplicaSet // as in the store, or as it shall be created
	fresh       bool               // not in the store yet
	gone        bool               // to be forgotten
	size        int32
	annotations map[string]string // the new set, nil while unchanged
	minReady    int32
	reason      string
}

func newRollout(in Input) *rollout {
	d := in.Deployment
	r := &rollout{d: d, was: d.Status, trouble: in.Trouble, pulling: in.Pulling, fresh: in.Fresh, now: in.Now, collision: d.Status.CollisionCount}
	r.aim(in)
	sets := byAge(in.ReplicaSets)
	chosen := r.chosen(sets)
	list := make([]revision, len(sets))
	for i, rs := range sets {
		v := &list[i]
		v.rs, v.size, v.minReady = rs, replicas(rs.Spec.Replicas), rs.Spec.MinReadySeconds
		if i == chosen {
			r.newest = v
			continue
		}
		r.others = append(r.others, v)
	}
	if r.newest != nil {
		r.annotate(r.newest)
		r.newest.minReady = d.Spec.MinReadySeconds
	}
	r.found()
	r.pauseConditions()
	return r
}

// byAge puts the oldest first, in a list of its own if they do not stand so already.
func byAge(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	older := func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	}
	if slices.IsSortedFunc(sets, older) {
		return sets
	}
	sets = slices.Clone(sets)
	slices.SortFunc(sets, older)
	return sets
}

func (r *rollout) desired() int32 { return replicas(r.d.Spec.Replicas) }

// all returns the revisions that exist or shall exist, oldest first, the newest last. Nobody changes the list.
func (r *rollout) all() []*revision {
	n := len(r.others)
	if r.newest == nil {
		return r.others
	}
	if len(r.every) != n+1 {
		r.every = append(slices.Clone(r.others), r.newest)
	}
	return r.every
}

func (v *revision) wasSize() int32 {
	if v.fresh {
		return 0
	}
	return replicas(v.rs.Spec.Replicas)
}

// available counts the pods that can be relied on. A status written before the last shrinking may count pods that are about to go.
// That is true also of one that grows again in this pass.
func (v *revision) available() int32 { return min(v.rs.Status.AvailableReplicas, v.size, v.wasSize()) }

func total(revisions []*revision, count func(*revision) int32) int32 {
	var n int32
	for _, v := range revisions {
		n += count(v)
	}
	return n
}

// standing counts the pods that are there or will be. A revision that was just made smaller still has its pods until its planner has
// ended them; the surge covers them too.
func standing(v *revision) int32 { return max(v.size, v.rs.Status.Replicas) }

func sizeOf(v *revision) int32      { return v.size }
func availableOf(v *revision) int32 { return v.available() }
func actualOf(v *revision) int32    { return v.rs.Status.Replicas }
func readyOf(v *revision) int32     { return v.rs.Status.ReadyReplicas }

// replicas reads a replica count; Kubernetes' default is 1.
func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func active(revisions []*revision) []*revision {
	var out []*revision
	for _, v := range revisions {
		if v.size > 0 {
			out = append(out, v)
		}
	}
	return out
}
