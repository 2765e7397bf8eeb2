// Package replicationcontroller decides for ReplicationControllers, as ReplicaSets are decided for: one is looked at as if it were the other.
package replicationcontroller

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/replicaset"
)

// Input is what is known of one ReplicationController. Nothing in it is changed.
type Input struct {
	ReplicationController *corev1.ReplicationController
	// Pods are all that it owns, by UID, those that are ending or have ended included.
	Pods []*corev1.Pod
	// Nonce makes the names of new pods, as for a ReplicaSet.
	Nonce uint64
	Now   time.Time
}

// Plan returns the pods to make or to end and the status, exactly as for a ReplicaSet.
func Plan(in Input) reconcile.Plan {
	rc := in.ReplicationController
	p := replicaset.Plan(replicaset.Input{ReplicaSet: asReplicaSet(rc), Pods: in.Pods, Nonce: in.Nonce, Now: in.Now})
	actions := p.Actions
	p.Actions = nil
	for _, a := range actions {
		if a := translated(rc, a); a != nil {
			p.Actions = append(p.Actions, a)
		}
	}
	return p
}

// asReplicaSet shares everything with rc.
func asReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec:       appsv1.ReplicaSetSpec{Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds},
		Status: appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas, ReadyReplicas: rc.Status.ReadyReplicas,
			AvailableReplicas: rc.Status.AvailableReplicas, ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	return rs
}

// translated is an action on the view as one on rc; nil for a status of which nothing is rc's to say.
func translated(rc *corev1.ReplicationController, a reconcile.Action) reconcile.Action {
	switch a := a.(type) { //nolint:gochecksumtype // the rest is the same for both
	case reconcile.CreatePod:
		a.Pod.OwnerReferences = []metav1.OwnerReference{
			*metav1.NewControllerRef(rc, corev1.SchemeGroupVersion.WithKind(reconcile.KindReplicationController)),
		}
		return a
	case reconcile.RecordEvent:
		a.Key = reconcile.KeyOf(rc)
		return a
	case reconcile.UpdateStatus:
		rs, _ := a.Object.(*appsv1.ReplicaSet) // a ReplicaSet's planner speaks of nothing else
		status := rc.Status
		status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas = rs.Status.Replicas, rs.Status.FullyLabeledReplicas, rs.Status.ReadyReplicas
		status.AvailableReplicas, status.ObservedGeneration = rs.Status.AvailableReplicas, rs.Status.ObservedGeneration
		if apiequality.Semantic.DeepEqual(status, rc.Status) {
			return nil
		}
		updated := *rc // what is not of the status is shared: nobody writes into an object
		updated.Status = status
		return reconcile.UpdateStatus{Object: &updated}
	}
	return a
}
