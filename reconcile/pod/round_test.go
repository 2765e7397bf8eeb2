package pod_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// startsAllOver lets a container begin the whole Pod anew when it ends with code 42.
func startsAllOver(c *corev1.Container) {
	never := corev1.ContainerRestartPolicyNever
	c.RestartPolicy = &never
	c.RestartPolicyRules = []corev1.ContainerRestartRule{
		{
			Action:    corev1.ContainerRestartRuleActionRestartAllContainers,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
		},
		{
			Action:    corev1.ContainerRestartRuleActionRestart,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42, 43}},
		},
	}
}

func restarting(in *pod.Input) string {
	for _, c := range in.Pod.Status.Conditions {
		if c.Type == corev1.AllContainersRestarting {
			return string(c.Status)
		}
	}
	return ""
}

// One container takes all others with it, through the init containers again, in the same sandbox; and never again for the same end.
func TestRestartAllContainers(t *testing.T) {
	in := running(policy(corev1.RestartPolicyNever), containers(container("main", startsAllOver), container("other")), func(in *pod.Input) {
		in.Pod.Spec.InitContainers = []corev1.Container{container("first"), container("side", sidecar)}
	})
	step := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, told(pod.Plan(in))); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
		live(&in)
	}
	exit(&in, "first", 0)
	live(&in)
	live(&in)
	step("when all runs")
	if got := restarting(&in); got != "" {
		t.Errorf("the condition is %q before anything was started over", got)
	}

	exit(&in, "main", 42)
	const why = " of Pod/shop/web: all containers of the pod are restarted"
	step("when one ends with 42", "kill container side"+why, "kill container other"+why)
	if got := restarting(&in); got != "True" || in.Pod.Status.Phase != corev1.PodRunning {
		t.Errorf("the condition is %q, the phase %s", got, in.Pod.Status.Phase)
	}
	exit(&in, "side", 137)
	exit(&in, "other", 137)
	step("when all have ended", "start container first of Pod/shop/web, attempt 1")
	step("while the init container runs")
	if s := in.Pod.Status.ContainerStatuses[0]; s.State.Waiting == nil || s.State.Waiting.Reason != "PodInitializing" || s.LastTerminationState.Terminated.ExitCode != 42 {
		t.Errorf("meanwhile main is %+v", s)
	}
	exit(&in, "first", 0)
	step("when the init container is done", "start container side of Pod/shop/web, attempt 1")
	step("when the sidecar runs", "start container main of Pod/shop/web, attempt 1", "start container other of Pod/shop/web, attempt 1")
	step("when all runs again")
	if got := restarting(&in); got != "False" || in.Observed.Sandbox.Attempt != 0 {
		t.Errorf("the condition is %q, the sandbox %d", got, in.Observed.Sandbox.Attempt)
	}
	for _, c := range in.Observed.Containers {
		if c.Attempt == 1 && c.State != runtime.Exited && c.Name == "first" {
			t.Errorf("%s runs", c.Name)
		}
	}

	exit(&in, "main", 43)
	in.Now = in.Now.Add(time.Minute)
	step("another code is another rule", "start container main of Pod/shop/web, attempt 2")
	step("then", "remove container main of Pod/shop/web, attempt 0")
	exit(&in, "main", 1)
	exit(&in, "other", 0)
	step("no rule", "send signal 15 to container side of Pod/shop/web: the pod has ended")
}

// It happens again and again, and waits in between like any restart.
func TestRestartAllContainersBacksOff(t *testing.T) {
	in := running(containers(container("main", startsAllOver)))
	for want := range 4 {
		exit(&in, "main", 42)
		starts := func() (n int) {
			for _, a := range pod.Plan(in).Actions {
				if _, ok := a.(reconcile.StartContainer); ok {
					n++
				}
			}
			return n
		}
		if n := starts(); (want == 0) != (n == 1) {
			t.Fatalf("at the end of attempt %d: %d starts at once", want, n)
		}
		in.Now = in.Now.Add(time.Hour)
		if n := starts(); n != 1 {
			t.Fatalf("an hour after the end of attempt %d: %d starts", want, n)
		}
		live(&in)
		look(&in)
	}
}
