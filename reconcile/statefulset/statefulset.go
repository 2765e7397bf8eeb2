// Package statefulset decides about pods that are somebody: each has its ordinal, its name, its volumes, and keeps them.
//
// Pods come up one after the other, each when those before it serve; they go in the opposite order; and a new template replaces them from the
// highest ordinal down to the partition. With podManagementPolicy Parallel nobody waits for anybody, but a rollout still does.
package statefulset

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/config"
	"berth/reconcile/history"
	"berth/reconcile/readiness"
	"berth/reconcile/request"
)

// Input is what is known of one StatefulSet. Nothing in it is changed.
type Input struct {
	StatefulSet *appsv1.StatefulSet
	// Pods are all that the set owns, by UID, those that are ending or have ended included.
	Pods []*corev1.Pod
	// Claims are the PersistentVolumeClaims of the namespace with the names that the set's pods use, whoever made them.
	Claims []*corev1.PersistentVolumeClaim
	// Stated names those of Claims that a file states: they are its to keep or to take away.
	Stated map[string]bool
	// Revisions are all that the set owns.
	Revisions []*appsv1.ControllerRevision
	// Config is what the ConfigMaps and Secrets of the template say now; nil for a set that is not rolled out to it.
	Config config.Fingerprint
	Now    time.Time
}

// Plan returns the next steps of a set: revisions, the status, claims and pods. A pod that is ending, or has ended, must be gone before
// its successor is made, which has its name.
//
// As in Kubernetes, a set that waits for its pods in order (the default) waits also for one that can never become ready: when its template is mended, the
// broken pod has to be deleted by hand.
func Plan(in Input) reconcile.Plan {
	s := newPass(in)
	s.plan.Actions = append(s.plan.Actions, s.history.Actions...)
	s.report()
	if s.set.DeletionTimestamp == nil {
		s.act()
		s.plan.Actions = append(s.plan.Actions, s.history.Trim(s.set.Spec.RevisionHistoryLimit, s.inUse)...)
	}
	return s.plan
}

// pass is one look at one set.
type pass struct {
	set     *appsv1.StatefulSet
	now     time.Time
	history history.History
	// current is what pods below the partition are made of, update what the others are; mostly the same. before is current's template, nil
	// when that is the set's.
	current, update string
	template        corev1.PodTemplateSpec // the set's, restarted when that was asked for
	before          *corev1.PodTemplateSpec

	replicas  []*corev1.Pod // by place: ordinal less start; nil where there is none
	condemned []*corev1.Pod // of ordinals that are not wished, the highest first
	claims    map[string]*corev1.PersistentVolumeClaim
	stated    map[string]bool

	plan reconcile.Plan
}

func newPass(in Input) *pass {
	set := in.StatefulSet
	s := &pass{set: set, now: in.Now, stated: in.Stated, claims: make(map[string]*corev1.PersistentVolumeClaim, len(in.Claims))}
	s.template = request.Template(&set.Spec.Template, set.Annotations[request.AnnotationRestartedAt])
	s.history = history.Of(history.Input{
		Owner: set, Kind: kind, Template: &s.template, Revisions: in.Revisions, Collisions: set.Status.CollisionCount, Config: in.Config,
		HashLabel: hashLabel, Now: in.Now,
	})
	s.update = s.history.Newest.Name
	s.current = s.update
	if was := s.history.Find(set.Status.CurrentRevision); was != nil && was != s.history.Newest {
		if t, err := history.Template(was); err == nil { // one that cannot be read is as good as none
			s.current, s.before = was.Name, t
		}
	}
	for _, c := range in.Claims {
		s.claims[c.Name] = c
	}
	s.replicas = make([]*corev1.Pod, wished(set))
	for _, p := range in.Pods {
		ordinal, ok := ordinalOf(set, p)
		switch at := ordinal - start(set); {
		case !ok:
		case at >= 0 && at < len(s.replicas):
			s.replicas[at] = p
		default:
			s.condemned = append(s.condemned, p)
		}
	}
	slices.SortFunc(s.condemned, func(a, b *corev1.Pod) int {
		x, _ := ordinalOf(set, a)
		y, _ := ordinalOf(set, b)
		return cmp.Compare(y, x)
	})
	return s
}

// act takes the steps in their order: what is missing, what is too much, what is old. In order, each waits for the ones before it.
func (s *pass) act() {
	ordered := s.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
	for at := range s.replicas {
		if wait := s.keep(at, ordered); wait && ordered {
			return
		}
	}
	for _, p := range s.condemned {
		s.settleClaims(p)
	}
	for _, p := range s.condemned {
		if s.condemn(p, ordered); ordered {
			return
		}
	}
	if s.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType {
		s.roll()
	}
}

// keep sees to the pod of one place. It reports whether those behind it have to wait.
func (s *pass) keep(at int, ordered bool) (wait bool) {
	p, ordinal := s.replicas[at], start(s.set)+at
	switch {
	case p == nil:
		s.create(ordinal)
		return true
	case finished(p):
		if p.DeletionTimestamp == nil {
			s.end(p, "it has ended")
		}
		return true
	}
	if p.Status.Phase == corev1.PodPending {
		s.makeClaims(ordinal)
	}
	if ordered && (p.DeletionTimestamp != nil || !s.available(p)) {
		return true
	}
	s.settleClaims(p)
	return false
}

// condemn ends a pod that is too much. In order, it is the highest, and waits until it is gone. All wished pods serve then; of those that are too much a
// broken one is ended only when none below it is broken, as in Kubernetes.
func (s *pass) condemn(p *corev1.Pod, ordered bool) {
	early := ordered && !s.available(p) && p != s.firstUnavailable()
	if p.DeletionTimestamp == nil && !early {
		s.end(p, "the set wants "+strconv.Itoa(len(s.replicas))+" pods")
	}
}

// firstUnavailable is the unwished pod of the lowest ordinal that does not serve; nil for none.
func (s *pass) firstUnavailable() *corev1.Pod {
	for _, p := range slices.Backward(s.condemned) {
		if p.DeletionTimestamp != nil || !s.available(p) {
			return p
		}
	}
	return nil
}

func (s *pass) available(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && readiness.Available(p, s.set.Spec.MinReadySeconds, s.now)
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

func (s *pass) inUse(r *appsv1.ControllerRevision) bool {
	uses := func(p *corev1.Pod) bool { return p != nil && revisionOf(p) == r.Name }
	return r.Name == s.current || slices.ContainsFunc(s.replicas, uses) || slices.ContainsFunc(s.condemned, uses)
}

func revisionOf(p *corev1.Pod) string { return p.Labels[appsv1.ControllerRevisionHashLabelKey] }

// start is the first ordinal.
func start(set *appsv1.StatefulSet) int {
	if o := set.Spec.Ordinals; o != nil {
		return int(o.Start)
	}
	return 0
}

func wished(set *appsv1.StatefulSet) int {
	if n := set.Spec.Replicas; n != nil {
		return int(*n)
	}
	return 1
}

// ordinalOf reads a pod's ordinal from its name.
func ordinalOf(set *appsv1.StatefulSet, p *corev1.Pod) (int, bool) {
	rest, ok := strings.CutPrefix(p.Name, set.Name+"-")
	n, err := strconv.ParseInt(rest, 10, 32)
	return int(n), ok && err == nil && n >= 0
}
