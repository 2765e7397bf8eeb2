package reconciletest

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/replicationcontroller"
)

// replicationControllers keep as many pods as wished: what a template says changes later ones only.
func replicationControllers() *kind {
	of := func(o reconcile.Object) *corev1.ReplicationController { return o.(*corev1.ReplicationController) }
	return &kind{
		name: reconcile.KindReplicationController,
		make: func(w *world, name string) reconcile.Object {
			n, t := int32(w.rng.IntN(4)), w.template(name)
			return &corev1.ReplicationController{Spec: corev1.ReplicationControllerSpec{Replicas: &n, Template: &t}}
		},
		edit: func(w *world, o reconcile.Object) {
			rc := of(o)
			switch w.rng.IntN(5) {
			case 0, 1:
				n := int32(w.rng.IntN(5))
				rc.Spec.Replicas = &n
			case 2, 3:
				t := w.template(rc.Name)
				rc.Spec.Template = &t
			default:
				rc.Spec.MinReadySeconds = pick(w, int32(0), 0, 3, 10)
			}
		},
		heal: func(w *world, o reconcile.Object) {
			rc := of(o)
			t := rc.Spec.Template.DeepCopy()
			w.healTemplate(t)
			rc.Spec.Template = t
			w.endBroken(rc.UID)
		},
		summary: func(o reconcile.Object) string {
			rc := of(o)
			return fmt.Sprintf("%d × %s, min ready %d s", *rc.Spec.Replicas, rc.Spec.Template.Spec.Containers[0].Image, rc.Spec.MinReadySeconds)
		},
		plan: func(w *world, o reconcile.Object) reconcile.Plan {
			w.nonce++
			return replicationcontroller.Plan(replicationcontroller.Input{
				ReplicationController: of(o), Pods: w.podsOf(o.GetUID()), Nonce: w.nonce, Now: w.clock.wall,
			})
		},
		made: func(w *world, o reconcile.Object, p *corev1.Pod) {
			if n := w.activeAmong(w.podsOf(o.GetUID())); n > int(*of(o).Spec.Replicas) {
				w.fail("pod %s is one too many: %s has %d active pods of %d", describe(p), reconcile.KeyOf(o), n, *of(o).Spec.Replicas)
			}
		},
		ending: func(w *world, o reconcile.Object, p *corev1.Pod) {
			if n := w.activeAmong(w.podsOf(o.GetUID())); isActive(p) && n <= int(*of(o).Spec.Replicas) {
				w.fail("pod %s is ended although %s has only %d active pods of %d", describe(p), reconcile.KeyOf(o), n, *of(o).Spec.Replicas)
			}
		},
		idle: func(w *world, o reconcile.Object) {
			rc := of(o)
			n := w.activeAmong(w.podsOf(rc.UID))
			if n != int(*rc.Spec.Replicas) || int(rc.Status.Replicas) != n || rc.Status.ObservedGeneration != rc.Generation {
				w.fail("%s shall have %d pods, has %d active ones and reports %d", reconcile.KeyOf(o), *rc.Spec.Replicas, n, rc.Status.Replicas)
			}
		},
		complete: func(w *world, o reconcile.Object) int {
			rc := of(o)
			if rc.Status.AvailableReplicas != *rc.Spec.Replicas {
				w.fail("%s wants %d pods, %d are available", reconcile.KeyOf(o), *rc.Spec.Replicas, rc.Status.AvailableReplicas)
			}
			return int(*rc.Spec.Replicas)
		},
	}
}

func (w *world) activeAmong(pods []*corev1.Pod) (n int) {
	for _, p := range pods {
		if isActive(p) {
			n++
		}
	}
	return n
}
