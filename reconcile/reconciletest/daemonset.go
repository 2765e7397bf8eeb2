package reconciletest

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"berth/reconcile"
	"berth/reconcile/daemonset"
)

// daemonSets have one pod, two at most while they roll out.
func daemonSets() *kind {
	of := func(o reconcile.Object) *appsv1.DaemonSet { return o.(*appsv1.DaemonSet) }
	return &kind{
		name: reconcile.KindDaemonSet,
		make: func(w *world, name string) reconcile.Object {
			history := int32(w.rng.IntN(3))
			return &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{
				Template: w.template(name), RevisionHistoryLimit: &history, MinReadySeconds: pick(w, int32(0), 0, 5), UpdateStrategy: w.daemonStrategy(),
			}}
		},
		edit: func(w *world, o reconcile.Object) { w.editDaemonSet(of(o)) },
		heal: func(w *world, o reconcile.Object) {
			t := of(o).Spec.Template.DeepCopy()
			w.healTemplate(t)
			of(o).Spec.Template = *t
			w.endBroken(o.GetUID()) // nothing else ends those of a set that is updated OnDelete
		},
		summary: func(o reconcile.Object) string {
			d := of(o)
			return fmt.Sprintf("%s, %s surge %v, min ready %d s", d.Spec.Template.Spec.Containers[0].Image, d.Spec.UpdateStrategy.Type, surges(d), d.Spec.MinReadySeconds)
		},
		plan: func(w *world, o reconcile.Object) reconcile.Plan {
			w.nonce++
			return daemonset.Plan(daemonset.Input{
				DaemonSet: of(o), Pods: w.podsOf(o.GetUID()), Revisions: ownedBy[*appsv1.ControllerRevision](w, o.GetUID()), Node: "sim", Nonce: w.nonce, Now: w.clock.wall,
			})
		},
		made:     func(w *world, o reconcile.Object, p *corev1.Pod) { w.checkDaemonMade(of(o), p) },
		ending:   func(w *world, o reconcile.Object, p *corev1.Pod) { w.checkDaemonEnding(of(o), p) },
		idle:     func(w *world, o reconcile.Object) { w.checkDaemonIdle(of(o)) },
		complete: func(w *world, o reconcile.Object) int { return w.checkDaemonComplete(of(o)) },
	}
}

func (w *world) daemonStrategy() appsv1.DaemonSetUpdateStrategy {
	if w.rng.IntN(5) == 0 {
		return appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	}
	surge, unavailable := intstr.FromInt32(0), pick(w, intstr.FromInt32(1), intstr.FromString("10%"))
	if w.rng.IntN(2) == 0 {
		surge, unavailable = unavailable, surge
	}
	return appsv1.DaemonSetUpdateStrategy{
		Type:          appsv1.RollingUpdateDaemonSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &surge, MaxUnavailable: &unavailable},
	}
}

func surges(d *appsv1.DaemonSet) bool {
	u := d.Spec.UpdateStrategy.RollingUpdate
	return u != nil && (u.MaxSurge.IntVal > 0 || u.MaxSurge.StrVal != "")
}

func (w *world) editDaemonSet(d *appsv1.DaemonSet) {
	switch w.rng.IntN(9) {
	case 0, 1, 2:
		w.former[string(d.UID)] = append(w.former[string(d.UID)], d.Spec.Template)
		d.Spec.Template = w.template(d.Name)
	case 3, 4:
		if old := w.former[string(d.UID)]; len(old) > 0 {
			d.Spec.Template = *old[w.rng.IntN(len(old))].DeepCopy()
		}
	case 5, 6:
		d.Spec.UpdateStrategy = w.daemonStrategy()
	default:
		d.Spec.MinReadySeconds = pick(w, int32(0), 0, 5)
	}
}

func hashOf(p *corev1.Pod) string { return p.Labels["controller-revision-hash"] }

func (w *world) newestHash(d *appsv1.DaemonSet) string {
	r, _ := w.object(key(reconcile.KindControllerRevision, w.newestRevision(d)))
	return r.GetLabels()["controller-revision-hash"]
}

func (w *world) checkDaemonMade(d *appsv1.DaemonSet, p *corev1.Pod) {
	if newest := w.newestHash(d); hashOf(p) != newest {
		w.fail("pod %s of DaemonSet %s is made of revision %s, the newest is %s", describe(p), d.Name, hashOf(p), newest)
	}
	beside := 0
	for _, other := range w.podsOf(d.UID) {
		switch {
		case other.UID == p.UID:
		case isActive(other) && hashOf(other) == hashOf(p):
			w.fail("pod %s of DaemonSet %s is made beside %s, of the same revision", describe(p), d.Name, describe(other))
		case isActive(other):
			beside++
		case other.DeletionTimestamp != nil && other.Status.Phase == corev1.PodRunning && !surges(d):
			w.fail("pod %s of DaemonSet %s is made before %s is gone", describe(p), d.Name, describe(other))
		}
	}
	if beside > 1 || beside > 0 && !surges(d) {
		w.fail("pod %s of DaemonSet %s is made beside %d others", describe(p), d.Name, beside)
	}
}

func (w *world) checkDaemonEnding(d *appsv1.DaemonSet, p *corev1.Pod) {
	if !isActive(p) {
		return
	}
	newest := w.newestHash(d)
	same, serves := 0, false
	for _, other := range w.podsOf(d.UID) {
		if isActive(other) && other.UID != p.UID {
			if (hashOf(other) == newest) == (hashOf(p) == newest) {
				same++
			}
			serves = serves || hashOf(other) == newest && w.serving(other, d.Spec.MinReadySeconds)
		}
	}
	switch mayGo := same > 0 || serves; {
	case hashOf(p) == newest && same == 0:
		w.fail("pod %s of DaemonSet %s is ended, and it is the only new one", describe(p), d.Name)
	case !mayGo && d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType && reportedReady(p):
		w.fail("pod %s of DaemonSet %s is ended, and only its user may do that", describe(p), d.Name)
	case !mayGo && surges(d) && reportedReady(p):
		w.fail("pod %s of DaemonSet %s is ended before the new one serves", describe(p), d.Name)
	}
}

func (w *world) checkDaemonIdle(d *appsv1.DaemonSet) {
	pods := w.podsOf(d.UID)
	if d.Status.ObservedGeneration != d.Generation || len(pods) == 0 {
		w.fail("DaemonSet %s has %d pods, and nobody does anything about it", d.Name, len(pods))
	}
	if n := w.activeAmong(pods); n > 2 {
		w.fail("DaemonSet %s has %d pods", d.Name, n)
	}
}

func (w *world) checkDaemonComplete(d *appsv1.DaemonSet) int {
	s := d.Status
	if s.CurrentNumberScheduled != 1 || s.NumberAvailable != 1 || s.NumberUnavailable != 0 || s.NumberMisscheduled != 0 {
		w.fail("DaemonSet %s reports %+v", d.Name, s)
	}
	rolls := d.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType
	for _, p := range w.podsOf(d.UID) {
		if rolls && (s.UpdatedNumberScheduled != 1 || p.Spec.Containers[0].Image != d.Spec.Template.Spec.Containers[0].Image) {
			w.fail("pod %s of DaemonSet %s is old, the set reports %+v", describe(p), d.Name, s)
		}
	}
	if n := len(ownedBy[*appsv1.ControllerRevision](w, d.UID)); n > 2+int(*d.Spec.RevisionHistoryLimit) {
		w.fail("DaemonSet %s keeps %d revisions, its history has room for %d", d.Name, n, *d.Spec.RevisionHistoryLimit)
	}
	return 1
}
