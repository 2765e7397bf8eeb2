package reconciletest

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/runtime"
)

// checkIdle judges a moment in which nobody has anything to do: what is reported must be the truth, and every count right.
func (w *world) checkIdle() {
	w.moments++
	for _, p := range w.pods {
		w.checkIdlePod(p)
		w.checkIdleConfig(p)
	}
	x := w.index()
	for i, s := range w.sets {
		w.checkIdleSet(s, &x.revisions[i])
	}
	for _, o := range w.objects {
		if k := w.kindOf(o); k != nil && k.idle != nil {
			k.idle(w, o)
		}
	}
	for _, d := range w.deployments {
		if d.Status.ObservedGeneration != d.Generation {
			w.fail("Deployment %s: nobody has looked at generation %d", d.Name, d.Generation)
		}
		w.checkIdleRollout(d)
		var replicas int32
		for _, s := range w.setsOf(d.UID) {
			replicas += s.Status.Replicas
		}
		if d.Status.Replicas != replicas {
			w.fail("Deployment %s reports %d replicas, its ReplicaSets %d", d.Name, d.Status.Replicas, replicas)
		}
	}
	for uid := range w.fake.UIDs() {
		if w.podByUID(types.UID(uid)) == nil {
			w.fail("pod %s is left on the machine, and in no store", uid)
		}
	}
}

func (w *world) checkIdlePod(p *corev1.Pod) {
	if e, ok := w.ends[p.UID]; ok && p.DeletionTimestamp != nil && e.jumps == w.clock.jumps {
		if past := w.clock.since - e.at; past > e.grace+3*time.Second {
			w.fail("pod %s is still there %s after its end was asked for, its grace is %s", describe(p), past, e.grace)
		}
	}
	if owner := ownerUID(p.OwnerReferences); owner != "" && p.DeletionTimestamp == nil && w.setByUID(owner) == nil && w.objectByUID(owner) == nil {
		w.fail("pod %s has lost its owner and lives", describe(p))
	}
	w.checkWaiting(p)
	if status, there := w.machine(p.UID); there && status.Sandbox.Ready && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed) && !anyRuns(&status) {
		w.fail("pod %s has ended, and keeps its sandbox", describe(p))
	}
	truth := w.crewOf(p).ready()
	if reported := reportedReady(p); reported != truth {
		w.fail("pod %s is reported ready: %v; the truth is %v", describe(p), reported, truth)
	}
}

func anyRuns(p *runtime.PodStatus) bool {
	return slices.ContainsFunc(p.Containers, func(c runtime.ContainerStatus) bool { return c.State != runtime.Exited })
}

func (w *world) checkIdleSet(s *appsv1.ReplicaSet, v *revision) {
	var active, available int32
	for i, p := range v.pods {
		if isActive(p) {
			active++
		}
		if w.available(p, v.crews[i], s.Spec.MinReadySeconds) {
			available++
		}
	}
	if active != *s.Spec.Replicas || s.Status.Replicas != active {
		w.fail("ReplicaSet %s shall have %d pods, has %d active ones and reports %d", s.Name, *s.Spec.Replicas, active, s.Status.Replicas)
	}
	if s.Status.AvailableReplicas > available {
		w.fail("ReplicaSet %s reports %d available pods, the truth is %d", s.Name, s.Status.AvailableReplicas, available)
	}
}

// checkConverged judges the end: every wish is fulfilled, nothing else is there, and nobody wants to do or to wait for anything.
func (w *world) checkConverged() {
	pods := 0
	for _, d := range w.deployments {
		pods += int(*d.Spec.Replicas)
		w.checkComplete(d)
	}
	for _, o := range w.objects {
		if k := w.kindOf(o); k != nil && k.complete != nil {
			pods += k.complete(w, o)
		}
	}
	for _, wish := range w.wishes {
		pods++
		if p, i := find(w.pods, wish.Name); i < 0 || p.Spec.Containers[0].Image != wish.Spec.Containers[0].Image {
			w.fail("the Pod %s is not as its file says", wish.Name)
		}
	}
	if len(w.pods) != pods {
		w.fail("there are %d pods, wished are %d", len(w.pods), pods)
	}
	w.checkTraffic()
	if len(w.timers) > 0 {
		w.fail("everything is as wished, and still somebody waits: %v", w.timers)
	}
	for _, k := range w.everything() {
		plan, ok := w.plan(k)
		if ok && len(plan.Actions) > 0 {
			w.fail("everything is as wished, and still %s plans: %s", k, plan.Actions[0])
			w.show(plan.Actions[0])
		}
	}
}

// show puts into the trace what a status would change from and to.
func (w *world) show(a reconcile.Action) {
	u, ok := a.(reconcile.UpdateStatus)
	if !ok || !w.tracing {
		return
	}
	switch o := u.Object.(type) {
	case *appsv1.ReplicaSet:
		had, _ := find(w.sets, o.Name)
		w.say("from %+v\nto   %+v", had.Status, o.Status)
	case *appsv1.Deployment:
		had, _ := find(w.deployments, o.Name)
		w.say("from %+v\nto   %+v", had.Status, o.Status)
	case *corev1.Pod:
		had, _ := find(w.pods, o.Name)
		w.say("from %+v\nto   %+v", had.Status, o.Status)
	case reconcile.Object:
		had, _ := w.object(reconcile.KeyOf(o))
		w.say("from %+v\nto   %+v", statusOf(had), statusOf(o))
	}
}

func (w *world) checkComplete(d *appsv1.Deployment) {
	s := d.Status
	n := *d.Spec.Replicas
	if s.Replicas != n || s.UpdatedReplicas != n || s.AvailableReplicas != n || w.tookBack(d) {
		w.fail("Deployment %s wants %d pods, has %d, %d of them new, %d available", d.Name, n, s.Replicas, s.UpdatedReplicas, s.AvailableReplicas)
	}
	for _, c := range s.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Reason != "NewReplicaSetAvailable" || c.Type == appsv1.DeploymentAvailable && c.Status != corev1.ConditionTrue {
			w.fail("Deployment %s is complete, and reports %s: %s", d.Name, c.Type, c.Reason)
		}
	}
	kept := 1 + int(*d.Spec.RevisionHistoryLimit)
	if n == 0 {
		kept++ // what was ready last
	}
	if _, held := w.holdOf(d); held {
		kept++ // what was restarted
	}
	if sets := len(w.setsOf(d.UID)); sets > kept {
		w.fail("Deployment %s keeps %d ReplicaSets, its history has room for %d", d.Name, sets, *d.Spec.RevisionHistoryLimit)
	}
}

// everything lists every key there is.
func (w *world) everything() []reconcile.Key {
	keys := []reconcile.Key{gcKey}
	for _, d := range w.deployments {
		keys = append(keys, key(reconcile.KindDeployment, d.Name))
	}
	for _, s := range w.sets {
		keys = append(keys, key(reconcile.KindReplicaSet, s.Name))
	}
	for _, o := range w.objects {
		if k := w.kindOf(o); k != nil && k.plan != nil {
			keys = append(keys, reconcile.KeyOf(o))
		}
	}
	for _, p := range w.wishes {
		keys = append(keys, key(reconcile.KindBarePod, p.Name))
	}
	for _, p := range w.pods {
		keys = append(keys, podKey(p))
		if ownerUID(p.OwnerReferences) == "" {
			if _, i := find(w.wishes, p.Name); i < 0 {
				keys = append(keys, key(reconcile.KindBarePod, p.Name))
			}
		}
	}
	return keys
}
