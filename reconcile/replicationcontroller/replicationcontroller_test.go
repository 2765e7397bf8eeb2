package replicationcontroller_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/replicationcontroller"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "here"},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}},
		},
	}
}

func settled() replicationcontroller.Input {
	two := int32(2)
	return replicationcontroller.Input{
		ReplicationController: &corev1.ReplicationController{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "rc-1", Generation: 3},
			Spec: corev1.ReplicationControllerSpec{
				Replicas: &two,
				Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
			},
			Status: corev1.ReplicationControllerStatus{Replicas: 2, FullyLabeledReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2, ObservedGeneration: 3},
		},
		Pods: []*corev1.Pod{pod("web-a"), pod("web-b")}, Nonce: 7, Now: now,
	}
}

func TestSettledPlansNothing(t *testing.T) {
	if p := replicationcontroller.Plan(settled()); len(p.Actions) > 0 {
		t.Errorf("planned %v", p.Actions)
	}
}

func TestMissingPodIsMade(t *testing.T) {
	in := settled()
	in.Pods = in.Pods[:1]
	p := replicationcontroller.Plan(in)
	if len(p.Actions) != 3 {
		t.Fatalf("planned %v, want a pod, its event and the status", p.Actions)
	}
	made := p.Actions[0].(reconcile.CreatePod).Pod
	owner := metav1.GetControllerOf(made)
	if owner == nil || owner.Kind != "ReplicationController" || owner.APIVersion != "v1" || owner.UID != "rc-1" || !strings.HasPrefix(made.Name, "web-") {
		t.Errorf("made %s, owned by %+v", made.Name, owner)
	}
	want := reconcile.RecordEvent{
		Key: reconcile.Key{Kind: "ReplicationController", Namespace: "shop", Name: "web"}, UID: "rc-1", Reason: "SuccessfulCreate", Message: "Created pod: " + made.Name,
	}
	if diff := cmp.Diff(want, p.Actions[1]); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	status := p.Actions[2].(reconcile.UpdateStatus).Object.(*corev1.ReplicationController).Status
	if diff := cmp.Diff(corev1.ReplicationControllerStatus{Replicas: 1, FullyLabeledReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1, ObservedGeneration: 3}, status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if in.ReplicationController.Status.Replicas != 2 {
		t.Error("the input was changed")
	}
}

func TestTooManyPods(t *testing.T) {
	in := settled()
	*in.ReplicationController.Spec.Replicas = 0
	var ended []string
	for _, a := range replicationcontroller.Plan(in).Actions {
		if d, ok := a.(reconcile.DeletePod); ok {
			ended = append(ended, d.Key.Name)
		}
	}
	if diff := cmp.Diff([]string{"web-a", "web-b"}, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
}
