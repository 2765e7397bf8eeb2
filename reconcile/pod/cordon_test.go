package pod_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
)

// A cordoned machine begins no Pod but those of DaemonSets, and takes nothing from those that it has begun.
func TestCordoned(t *testing.T) {
	owned := func(kind string) func(*pod.Input) {
		return func(in *pod.Input) {
			in.Pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: "o", UID: "o", Controller: new(true)}}
		}
	}
	tests := map[string]struct {
		in    pod.Input
		waits bool
	}{
		"new":              {in: fresh(), waits: true},
		"of a ReplicaSet":  {in: with(fresh(), owned("ReplicaSet")), waits: true},
		"of a DaemonSet":   {in: with(fresh(), owned("DaemonSet"))},
		"running":          {in: running()},
		"without sandbox":  {in: running(func(in *pod.Input) {})},
		"ended by a crash": {in: running()},
	}
	for name, tt := range tests {
		in := tt.in
		in.Cordoned = true
		switch name {
		case "without sandbox":
			in.Observed.Sandbox.Ready = false
		case "ended by a crash":
			in.Observed.Containers[0].State, in.Observed.Containers[0].FinishedAt = "exited", ago(0)
		}
		effects := 0
		for _, a := range look(&in).Actions {
			switch a.(type) {
			case reconcile.RunSandbox, reconcile.StartContainer, reconcile.PullImage:
				effects++
			}
		}
		waits := false
		for _, c := range in.Pod.Status.Conditions {
			waits = waits || c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message == "0/1 nodes are available: 1 node(s) were unschedulable."
		}
		if waits != tt.waits || tt.waits && effects > 0 {
			t.Errorf("%s: it waits: %t, %d effects", name, waits, effects)
		}
		if plan := look(&in); tt.waits && len(plan.Actions) > 0 {
			t.Errorf("%s: it is not quiet: %v", name, plan.Actions)
		}
	}
}

// A Pod that asks for more than there is waits, and begins when there is enough; one that has begun is not asked again.
func TestWanting(t *testing.T) {
	const why = "1 Insufficient cpu, 1 Insufficient memory"
	in := fresh()
	in.Wanting = why
	plan := look(&in)
	at := slices.IndexFunc(in.Pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	if at < 0 || in.Pod.Status.Conditions[at].Message != "0/1 nodes are available: "+why+"." || in.Pod.Status.Conditions[at].Reason != corev1.PodReasonUnschedulable {
		t.Fatalf("status %+v", in.Pod.Status)
	}
	said := slices.ContainsFunc(plan.Actions, func(a reconcile.Action) bool {
		e, ok := a.(reconcile.RecordEvent)
		return ok && e.Warning && e.Reason == "FailedScheduling"
	})
	if got := told(plan); len(got) > 0 || !said || in.Pod.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s, it does %q, it is said: %t", in.Pod.Status.Phase, got, said)
	}
	if plan := look(&in); len(plan.Actions) > 0 {
		t.Errorf("it is not quiet: %v", plan.Actions)
	}
	in.Wanting = ""
	live(&in)
	if in.Observed == nil {
		t.Error("it does not begin when there is enough")
	}
	in.Wanting = why
	if plan := look(&in); in.Pod.Status.Conditions[at].Status != corev1.ConditionTrue {
		t.Errorf("it has begun, and waits: %v", plan.Actions)
	}
}

func with(in pod.Input, change func(*pod.Input)) pod.Input {
	change(&in)
	return in
}
