package reconciletest

import (
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/reconcile/statefulset"
)

// statefulSets are pods with names of their own, in order.
func statefulSets() *kind {
	on := func(do func(w *world, s *appsv1.StatefulSet)) func(*world, reconcile.Object) {
		return func(w *world, o reconcile.Object) { do(w, o.(*appsv1.StatefulSet)) }
	}
	onPod := func(do func(w *world, s *appsv1.StatefulSet, p *corev1.Pod)) func(*world, reconcile.Object, *corev1.Pod) {
		return func(w *world, o reconcile.Object, p *corev1.Pod) { do(w, o.(*appsv1.StatefulSet), p) }
	}
	return &kind{
		name:    reconcile.KindStatefulSet,
		make:    func(w *world, name string) reconcile.Object { return w.newStatefulSet(name) },
		edit:    on((*world).editStatefulSet),
		heal:    on((*world).healStatefulSet),
		summary: func(o reconcile.Object) string { return statefulSummary(o.(*appsv1.StatefulSet)) },
		plan: func(w *world, o reconcile.Object) reconcile.Plan {
			s := o.(*appsv1.StatefulSet)
			in := statefulset.Input{
				StatefulSet: s, Pods: w.podsOf(s.UID), Revisions: ownedBy[*appsv1.ControllerRevision](w, s.UID), Now: w.clock.wall,
			}
			for _, name := range statefulset.ClaimNames(s, in.Pods) {
				if c, i := w.object(key(reconcile.KindPersistentVolumeClaim, name)); i >= 0 {
					in.Claims = append(in.Claims, c.(*corev1.PersistentVolumeClaim))
				}
			}
			return statefulset.Plan(in)
		},
		recall: func(o reconcile.Object) {
			s := o.(*appsv1.StatefulSet)
			s.Status = appsv1.StatefulSetStatus{CurrentRevision: s.Status.CurrentRevision, CollisionCount: s.Status.CollisionCount}
		},
		made:     onPod((*world).checkStatefulMade),
		ending:   onPod((*world).checkStatefulEnding),
		idle:     on((*world).checkStatefulIdle),
		complete: func(w *world, o reconcile.Object) int { return w.checkStatefulComplete(o.(*appsv1.StatefulSet)) },
	}
}

// claims are what StatefulSets make. They are kept, unless a set asked for something else.
func claims() *kind {
	return &kind{
		name: reconcile.KindPersistentVolumeClaim,
		plan: func(w *world, o reconcile.Object) reconcile.Plan {
			return w.planClaim(o.(*corev1.PersistentVolumeClaim))
		},
		idle: func(w *world, o reconcile.Object) { w.checkIdleClaim(o.(*corev1.PersistentVolumeClaim)) },
		lost: func(w *world, o reconcile.Object) {
			set, alive := o.GetLabels()["app"], false
			if set == "" {
				return // a pod's own goes with it
			}
			for _, s := range w.objects {
				alive = alive || s.GetName() == set && reconcile.KeyOf(s).Kind == reconcile.KindStatefulSet
			}
			if asked := w.retention[set]; alive && !asked.scaled || !asked.scaled && !asked.deleted {
				w.fail("claim %s is deleted, and StatefulSet %s never asked for that", o.GetName(), set)
			}
		},
		gone: func(w *world, o reconcile.Object) { w.enqueue(key(reconcile.KindStatefulSet, o.GetLabels()["app"])) },
	}
}

// asked is what the sets of a name ever asked for.
type retention struct{ scaled, deleted bool }

const removed = appsv1.DeletePersistentVolumeClaimRetentionPolicyType

func (w *world) newStatefulSet(name string) *appsv1.StatefulSet {
	n, history := int32(w.rng.IntN(5)), int32(w.rng.IntN(3))
	s := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{
		Replicas: &n, RevisionHistoryLimit: &history, Template: w.template(name),
		Selector:            &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
		PodManagementPolicy: pick(w, appsv1.OrderedReadyPodManagement, appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement),
		MinReadySeconds:     pick(w, int32(0), 0, 0, 5),
	}}
	if w.rng.IntN(4) == 0 {
		s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: int32(w.rng.IntN(3))}
	}
	if w.rng.IntN(2) == 0 {
		s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
		s.Spec.PersistentVolumeClaimRetentionPolicy = w.retentionPolicy(name)
	}
	s.Spec.UpdateStrategy = w.statefulStrategy()
	return s
}

func (w *world) retentionPolicy(name string) *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	const retain = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	p := &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
		WhenDeleted: pick(w, retain, retain, removed), WhenScaled: pick(w, retain, retain, removed),
	}
	had := w.retention[name]
	w.retention[name] = retention{scaled: had.scaled || p.WhenScaled == removed, deleted: had.deleted || p.WhenDeleted == removed}
	return p
}

func (w *world) statefulStrategy() appsv1.StatefulSetUpdateStrategy {
	if w.rng.IntN(6) == 0 {
		return appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	}
	partition := pick(w, int32(0), 0, 0, 1, 2)
	u := &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}
	if w.rng.IntN(3) == 0 {
		most := pick(w, intstr.FromInt32(1), intstr.FromInt32(2), intstr.FromString("60%"))
		u.MaxUnavailable = &most
	}
	return appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: u}
}

func (w *world) editStatefulSet(s *appsv1.StatefulSet) {
	switch w.rng.IntN(14) {
	case 0, 1, 2, 3:
		n := int32(w.rng.IntN(6))
		s.Spec.Replicas = &n
	case 4, 5, 6:
		w.former[string(s.UID)] = append(w.former[string(s.UID)], s.Spec.Template)
		s.Spec.Template = w.template(s.Name)
	case 7, 8:
		if old := w.former[string(s.UID)]; len(old) > 0 {
			s.Spec.Template = *old[w.rng.IntN(len(old))].DeepCopy()
		}
	case 9, 10:
		s.Spec.UpdateStrategy = w.statefulStrategy()
	case 11:
		s.Spec.MinReadySeconds = pick(w, int32(0), 0, 5)
	case 12:
		s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: int32(w.rng.IntN(3))}
	default:
		if len(s.Spec.VolumeClaimTemplates) > 0 {
			s.Spec.PersistentVolumeClaimRetentionPolicy = w.retentionPolicy(s.Name)
		}
	}
}

// healStatefulSet mends the template and, as a user must, deletes the pods that a set in order would wait for in vain.
func (w *world) healStatefulSet(s *appsv1.StatefulSet) {
	t := s.Spec.Template.DeepCopy()
	w.healTemplate(t)
	s.Spec.Template = *t
	if s.Spec.UpdateStrategy.RollingUpdate != nil {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32)}
	}
	w.endBroken(s.UID)
}

func statefulSummary(s *appsv1.StatefulSet) string {
	text := fmt.Sprintf("%d × %s from %d, %s, %s", *s.Spec.Replicas, s.Spec.Template.Spec.Containers[0].Image, firstOrdinal(s), s.Spec.PodManagementPolicy, s.Spec.UpdateStrategy.Type)
	if u := s.Spec.UpdateStrategy.RollingUpdate; u != nil {
		text += fmt.Sprintf(" partition %d", *u.Partition)
		if u.MaxUnavailable != nil {
			text += " unavailable " + u.MaxUnavailable.String()
		}
	}
	if p := s.Spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		text += fmt.Sprintf(", claims when scaled %s when deleted %s", p.WhenScaled, p.WhenDeleted)
	}
	return text + fmt.Sprintf(", min ready %d s", s.Spec.MinReadySeconds)
}

func firstOrdinal(s *appsv1.StatefulSet) int {
	if s.Spec.Ordinals == nil {
		return 0
	}
	return int(s.Spec.Ordinals.Start)
}

// place is where a pod stands in its set, and whether it is one of those wished.
func statefulPlace(s *appsv1.StatefulSet, p *corev1.Pod) (int, bool) {
	n, err := strconv.Atoi(p.Name[strings.LastIndexByte(p.Name, '-')+1:])
	if err != nil {
		panic(err)
	}
	n -= firstOrdinal(s)
	return n, n >= 0 && n < int(*s.Spec.Replicas)
}

func partitionOf(s *appsv1.StatefulSet) int {
	if u := s.Spec.UpdateStrategy.RollingUpdate; u != nil {
		return int(*u.Partition)
	}
	return 0
}

// statefulPods are the pods at the wished places; nil where there is none.
func (w *world) statefulPods(s *appsv1.StatefulSet) []*corev1.Pod {
	list := make([]*corev1.Pod, *s.Spec.Replicas)
	for _, p := range w.podsOf(s.UID) {
		if n, ok := statefulPlace(s, p); ok {
			list[n] = p
		}
	}
	return list
}

// serving tells whether a pod is known to be available, and is, unless it is still to be looked at.
func (w *world) serving(p *corev1.Pod, minReady int32) bool {
	return p != nil && p.DeletionTimestamp == nil && reportedReady(p) && (w.podIsDue(p) || w.available(p, w.crewOf(p), minReady))
}

// newestRevision is the one with the highest number.
func (w *world) newestRevision(o reconcile.Object) (name string) {
	last := int64(-1)
	for _, r := range ownedBy[*appsv1.ControllerRevision](w, o.GetUID()) {
		if r.Revision == last {
			w.fail("%s has two revisions %d", reconcile.KeyOf(o), last)
		}
		if r.Revision > last {
			name, last = r.Name, r.Revision
		}
	}
	return name
}

func (w *world) checkStatefulMade(s *appsv1.StatefulSet, p *corev1.Pod) {
	place, wished := statefulPlace(s, p)
	if !wished {
		w.fail("pod %s of StatefulSet %s is made and not wished: %s", describe(p), s.Name, statefulSummary(s))
		return
	}
	if s.Spec.PodManagementPolicy == appsv1.OrderedReadyPodManagement {
		for n, before := range w.statefulPods(s)[:place] {
			if !w.serving(before, s.Spec.MinReadySeconds) {
				w.fail("pod %s of StatefulSet %s is made although number %d does not serve", describe(p), s.Name, n)
			}
		}
	}
	revision := w.newestRevision(s)
	if _, known := w.object(key(reconcile.KindControllerRevision, s.Status.CurrentRevision)); place < partitionOf(s) && known >= 0 {
		revision = s.Status.CurrentRevision
	}
	if got := p.Labels["controller-revision-hash"]; got != revision {
		w.fail("pod %s of StatefulSet %s is made of revision %s, %s belongs there", describe(p), s.Name, got, revision)
	}
	for _, t := range s.Spec.VolumeClaimTemplates {
		c, i := w.object(key(reconcile.KindPersistentVolumeClaim, t.Name+"-"+p.Name))
		if i < 0 || len(p.Spec.Volumes) != 1 || p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != c.GetName() {
			w.fail("pod %s of StatefulSet %s is made without its claim", describe(p), s.Name)
		} else if owner := ownerUID(c.GetOwnerReferences()); owner != "" && owner != s.UID {
			w.fail("pod %s of StatefulSet %s is made with a claim that goes with %s", describe(p), s.Name, owner)
		}
	}
}

func (w *world) checkStatefulEnding(s *appsv1.StatefulSet, p *corev1.Pod) {
	place, wished := statefulPlace(s, p)
	ordered := s.Spec.PodManagementPolicy == appsv1.OrderedReadyPodManagement
	switch {
	case !wished && ordered:
		for _, other := range w.podsOf(s.UID) {
			if n, ok := statefulPlace(s, other); !ok && n > place {
				w.fail("pod %s of StatefulSet %s is ended before number %d is gone", describe(p), s.Name, n)
			}
		}
		for n, other := range w.statefulPods(s) {
			if !w.serving(other, s.Spec.MinReadySeconds) {
				w.fail("pod %s of StatefulSet %s, not wished, is ended although number %d does not serve", describe(p), s.Name, n)
			}
		}
	case wished && isActive(p):
		w.checkStatefulRolled(s, p, place, ordered)
	}
}

// checkStatefulRolled judges the end of a wished pod: it must be old, the next in turn, and not one too many.
func (w *world) checkStatefulRolled(s *appsv1.StatefulSet, p *corev1.Pod, place int, ordered bool) {
	newest := w.newestRevision(s)
	if p.Labels["controller-revision-hash"] == newest || place < partitionOf(s) || s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		w.fail("pod %s of StatefulSet %s is ended although it may stay: %s", describe(p), s.Name, statefulSummary(s))
	}
	most := 1
	u := s.Spec.UpdateStrategy.RollingUpdate
	if u.MaxUnavailable != nil {
		most = max(1, int(share(u.MaxUnavailable, *s.Spec.Replicas, 0)))
	}
	out := 1
	for n, other := range w.statefulPods(s) {
		if n > place && (other == nil || other.Labels["controller-revision-hash"] != newest && other.DeletionTimestamp == nil) {
			w.fail("pod %s of StatefulSet %s is ended before number %d is new", describe(p), s.Name, n)
		}
		if n != place && !w.serving(other, s.Spec.MinReadySeconds) && (ordered || u.MaxUnavailable != nil || n > place) {
			out++
		}
	}
	if free := u.MaxUnavailable != nil && !isReady(p); out > most && !free { // who was out before is not one more
		w.fail("pod %s of StatefulSet %s is ended, %d are out then, %d may be", describe(p), s.Name, out, most)
	}
}

func (w *world) checkStatefulIdle(s *appsv1.StatefulSet) {
	pods := w.podsOf(s.UID)
	if s.Status.ObservedGeneration != s.Generation || int(s.Status.Replicas) != len(pods) {
		w.fail("StatefulSet %s has %d pods and reports %d", s.Name, len(pods), s.Status.Replicas)
	}
	for n, p := range w.statefulPods(s) {
		name := s.Name + "-" + strconv.Itoa(firstOrdinal(s)+n)
		if _, taken := find(w.pods, name); p == nil && taken < 0 {
			w.fail("StatefulSet %s has no number %d, and nobody waits for it", s.Name, n)
		}
		if s.Spec.PodManagementPolicy == appsv1.OrderedReadyPodManagement && (p == nil || !w.serving(p, s.Spec.MinReadySeconds) || !w.surely(w.crewOf(p), s.Spec.MinReadySeconds)) {
			return
		}
	}
}

func (w *world) checkStatefulComplete(s *appsv1.StatefulSet) int {
	n, got := *s.Spec.Replicas, s.Status
	if got.Replicas != n || got.AvailableReplicas != n {
		w.fail("StatefulSet %s wants %d pods, has %d, %d available", s.Name, n, got.Replicas, got.AvailableReplicas)
	}
	rolls := s.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType
	if rolls && (got.UpdatedReplicas != n || got.CurrentReplicas != n || got.CurrentRevision != got.UpdateRevision) {
		w.fail("StatefulSet %s is complete, and reports %+v", s.Name, got)
	}
	for _, p := range w.statefulPods(s) {
		if rolls && p != nil && p.Spec.Containers[0].Image != s.Spec.Template.Spec.Containers[0].Image {
			w.fail("pod %s of StatefulSet %s is old", describe(p), s.Name)
		}
	}
	used := 2
	if !rolls {
		used += int(n) // each pod may have one of its own
	}
	if revisions := len(ownedBy[*appsv1.ControllerRevision](w, s.UID)); revisions > used+int(*s.Spec.RevisionHistoryLimit) {
		w.fail("StatefulSet %s keeps %d revisions, its history has room for %d", s.Name, revisions, *s.Spec.RevisionHistoryLimit)
	}
	return int(n)
}
