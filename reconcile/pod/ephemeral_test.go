package pod_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

func debugger(in *pod.Input) {
	in.Pod = in.Pod.DeepCopy()
	in.Pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "look", Image: "tools:1", Stdin: true, TTY: true}, TargetContainerName: "main",
	}}
	in.Images["tools:1"] = reconcile.ImageState{Image: &runtime.Image{ID: "sha256:2"}}
}

// An ephemeral container is started once in the sandbox that is there, beside its target, and its end changes nothing.
func TestEphemeralContainer(t *testing.T) {
	in := running(debugger)
	in.Pod.Spec.EphemeralContainers = nil
	in.Observed.Containers = slices.DeleteFunc(in.Observed.Containers, func(c runtime.ContainerStatus) bool { return c.Name == "look" })
	look(&in)
	debugger(&in)
	var started []runtime.ContainerConfig
	for _, a := range look(&in).Actions {
		switch a := a.(type) {
		case reconcile.StartContainer:
			started = append(started, a.Config)
		case reconcile.RunSandbox, reconcile.KillContainer, reconcile.SignalContainer:
			t.Errorf("planned %s", a)
		}
	}
	if len(started) != 1 || started[0].Name != "look" || started[0].Target != "main" || !started[0].TTY || started[0].ImageID != "sha256:2" {
		t.Fatalf("started %+v", started)
	}
	live(&in)
	look(&in)
	status := func() corev1.ContainerStatus { return in.Pod.Status.EphemeralContainerStatuses[0] }
	ready := func() bool {
		return slices.ContainsFunc(in.Pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
	}
	if s := status(); s.Name != "look" || s.State.Running == nil || !ready() || len(in.Pod.Status.ContainerStatuses) != 1 {
		t.Errorf("it runs, and its status is %+v, ready: %t", in.Pod.Status, ready())
	}
	end(&in, "look", 7)
	in.Now = now.Add(time.Hour)
	for range 2 {
		for _, a := range look(&in).Actions {
			if _, ok := a.(reconcile.UpdateStatus); !ok {
				t.Errorf("at its end planned %s", a)
			}
		}
	}
	if s := status(); s.State.Terminated == nil || s.State.Terminated.ExitCode != 7 || s.RestartCount != 0 || !ready() || in.Pod.Status.Phase != corev1.PodRunning {
		t.Errorf("it has ended, and its status is %+v, ready: %t", in.Pod.Status, ready())
	}
}

// It ends with its Pod, and keeps none from ending.
func TestEphemeralContainerEnds(t *testing.T) {
	signalled := func(in *pod.Input) (names []string) {
		for _, a := range look(in).Actions {
			if s, ok := a.(reconcile.SignalContainer); ok {
				names = append(names, s.Container)
			}
		}
		return names
	}
	in := running(debugger)
	live(&in)
	grace := int64(30)
	in.Pod = in.Pod.DeepCopy()
	at := now.Add(30 * time.Second)
	in.Pod.DeletionTimestamp, in.Pod.DeletionGracePeriodSeconds = &metav1.Time{Time: at}, &grace
	if got := signalled(&in); !slices.Equal(got, []string{"main", "look"}) {
		t.Errorf("at the end of the pod %v are told", got)
	}
	in = running(debugger, func(in *pod.Input) { in.Pod.Spec.RestartPolicy = corev1.RestartPolicyNever })
	live(&in)
	end(&in, "main", 0)
	if got := signalled(&in); !slices.Equal(got, []string{"look"}) {
		t.Errorf("when the work is done %v are told", got)
	}
	end(&in, "look", 0)
	look(&in)
	if in.Pod.Status.Phase != corev1.PodSucceeded {
		t.Errorf("the pod is %s", in.Pod.Status.Phase)
	}
}

// end ends a container on the machine in memory.
func end(in *pod.Input, name string, code int) {
	for i := range in.Observed.Containers {
		if c := &in.Observed.Containers[i]; c.Name == name {
			c.State, c.ExitCode, c.FinishedAt = runtime.Exited, code, in.Now
		}
	}
}
