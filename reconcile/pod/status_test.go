package pod_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

// summary is a status in one line: phase, conditions that are true, and the state of each container.
func summary(s corev1.PodStatus) string {
	parts := []string{string(s.Phase)}
	for _, c := range s.Conditions {
		if c.Status == corev1.ConditionTrue {
			parts = append(parts, map[corev1.PodConditionType]string{
				corev1.PodReadyToStartContainers: "sandbox", corev1.PodInitialized: "initialized", corev1.PodReady: "ready",
				corev1.ContainersReady: "containers", corev1.PodScheduled: "scheduled",
			}[c.Type])
		}
	}
	for _, c := range append(append([]corev1.ContainerStatus{}, s.InitContainerStatuses...), s.ContainerStatuses...) {
		parts = append(parts, c.Name+":"+state(c.State)+"/"+state(c.LastTerminationState))
	}
	return strings.Join(parts, " ")
}

func state(s corev1.ContainerState) string {
	switch {
	case s.Waiting != nil:
		return s.Waiting.Reason
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return s.Terminated.Reason
	}
	return ""
}

// never is a change of a Pod that is not restarted.
func never(change func(*pod.Input)) func(*pod.Input) {
	return func(in *pod.Input) {
		change(in)
		in.Pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
}

func TestStatus(t *testing.T) {
	const all = "sandbox initialized ready containers scheduled"
	tests := map[string]struct {
		base   func(...func(*pod.Input)) pod.Input
		with   func(*pod.Input)
		mutate func(*pod.Input)
		want   string
	}{
		"a new Pod":            {base: newly, want: "Pending initialized scheduled main:ContainerCreating/"},
		"with init containers": {base: newly, mutate: withInit, want: "Pending scheduled first:PodInitializing/ side:PodInitializing/ second:PodInitializing/ main:PodInitializing/"},
		"running":              {want: "Running " + all + " main:running/"},
		"first init container": {with: withInit, want: "Pending sandbox scheduled first:running/ side:PodInitializing/ second:PodInitializing/ main:PodInitializing/"},
		"just crashed":         {mutate: func(in *pod.Input) { exit(in, "main", 1) }, want: "Running sandbox initialized scheduled main:Error/"},
		"waits for a restart":  {mutate: crashedAfter(time.Second, 10*time.Second), want: "Running sandbox initialized scheduled main:CrashLoopBackOff/Error"},
		"restarted":            {mutate: func(in *pod.Input) { exit(in, "main", 1); live(in) }, want: "Running " + all + " main:running/Error"},
		"out of memory":        {mutate: func(in *pod.Input) { exit(in, "main", 137); last(in, "main").Reason = "OOMKilled" }, want: "Running sandbox initialized scheduled main:OOMKilled/"},
		"ended well, for good": {with: policy(corev1.RestartPolicyNever), mutate: func(in *pod.Input) { exit(in, "main", 0) }, want: "Succeeded sandbox initialized scheduled main:Completed/"},
		"failed, its sandbox stopped": {with: never(withInit), mutate: func(in *pod.Input) {
			exit(in, "first", 0)
			live(in)
			live(in)
			exit(in, "second", 3)
			exit(in, "side", 0)
			live(in)
		}, want: "Failed scheduled first:Completed/ side:Completed/ second:Error/ main:PodInitializing/"},
		"failed behind its init containers, its sandbox stopped": {with: never(withInit), mutate: func(in *pod.Input) {
			exit(in, "first", 0)
			live(in)
			live(in)
			exit(in, "second", 0)
			live(in)
			exit(in, "main", 3)
			exit(in, "side", 0)
			live(in)
		}, want: "Failed initialized scheduled first:Completed/ side:Completed/ second:Completed/ main:Error/"},
		"failed for good":        {with: policy(corev1.RestartPolicyNever), mutate: func(in *pod.Input) { exit(in, "main", 3) }, want: "Failed sandbox initialized scheduled main:Error/"},
		"a probe says not ready": {mutate: func(in *pod.Input) { in.Probes = map[string]pod.Probe{"main": {Started: true}} }, want: "Running sandbox initialized scheduled main:running/"},
		"a probe says ready":     {mutate: func(in *pod.Input) { in.Probes = map[string]pod.Probe{"main": {Started: true, Ready: true}} }, want: "Running " + all + " main:running/"},
		"with a sidecar":         {with: withSidecar, want: "Running " + all + " side:running/ main:running/"},
		"a sidecar has ended": {with: withSidecar, mutate: func(in *pod.Input) {
			exit(in, "side", 1)
			last(in, "side").Backoff = time.Minute
		}, want: "Running sandbox initialized scheduled side:CrashLoopBackOff/Error main:running/"},
		"a sidecar is not ready": {with: withSidecar, mutate: verdict("side", pod.Probe{Started: true}), want: "Running sandbox initialized scheduled side:running/ main:running/"},
		"the sandbox is lost":    {mutate: func(in *pod.Input) { in.Observed.Sandbox.Ready = false; exit(in, "main", 137) }, want: "Running initialized scheduled main:Error/"},
		"a start was refused":    {base: newly, mutate: refused(runtime.ReasonCreateError, time.Second), want: "Pending initialized scheduled main:CreateContainerError/"},
		"cannot be executed": {base: newly, mutate: func(in *pod.Input) {
			refused(runtime.ReasonStartError, time.Second)(in)
			f := in.Memory.Failed["main"]
			f.Attempt, f.Backoff = 1, 10*time.Second
			in.Memory.Failed["main"] = f
		}, want: "Running initialized scheduled main:CrashLoopBackOff/StartError"},
		"cannot be executed, for good": {base: newly, with: policy(corev1.RestartPolicyNever), mutate: refused(runtime.ReasonStartError, time.Second), want: "Failed initialized scheduled main:StartError/"},
		"a pull has just failed":       {base: newly, mutate: pullFailed(time.Second), want: "Pending initialized scheduled main:ErrImagePull/"},
		"a pull failed a while ago":    {base: newly, mutate: pullFailed(5 * time.Second), want: "Pending initialized scheduled main:ImagePullBackOff/"},
		"an image that must be there": {base: newly, mutate: func(in *pod.Input) {
			in.Pod.Spec.Containers[0].ImagePullPolicy, in.Images = corev1.PullNever, nil
		}, want: "Pending initialized scheduled main:ErrImageNeverPull/"},
		"no image can have this name": {base: newly, mutate: func(in *pod.Input) {
			in.Images = map[string]reconcile.ImageState{in.Pod.Spec.Containers[0].Image: {Invalid: "not a name"}}
		}, want: "Pending initialized scheduled main:InvalidImageName/"},
		"gated": {base: newly, mutate: func(in *pod.Input) { in.Pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}} }, want: "Pending initialized main:ContainerCreating/"},
		"a readiness gate is closed": {mutate: func(in *pod.Input) {
			in.Pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x"}}
		}, want: "Running sandbox initialized containers scheduled main:running/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base, with := tt.base, tt.with
			if base == nil {
				base = running
			}
			if with == nil {
				with = func(*pod.Input) {}
			}
			in := base(with)
			if tt.mutate != nil {
				tt.mutate(&in)
			}
			look(&in)
			if got := summary(in.Pod.Status); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			in.Now = in.Now.Add(time.Millisecond)
			for _, a := range pod.Plan(in).Actions {
				if _, again := a.(reconcile.UpdateStatus); again {
					t.Error("the same facts give another status a moment later")
				}
			}
		})
	}
}

func pullFailed(since time.Duration) func(*pod.Input) {
	return func(in *pod.Input) {
		in.Images["web:1"] = reconcile.ImageState{Failures: 1, LastFailure: ago(since), LastError: "no"}
	}
}

// TestReadySinceSurvivesRestart holds that a Pod that has long been ready has not just become so when berth begins anew.
func TestReadySinceSurvivesRestart(t *testing.T) {
	in := running()
	in.Pod.Status = corev1.PodStatus{}
	in.Now = now.Add(time.Hour)
	look(&in)
	for _, c := range in.Pod.Status.Conditions {
		if c.Type == corev1.PodReady && !c.LastTransitionTime.Time.Equal(ago(time.Minute)) {
			t.Errorf("ready since %s, it started at %s", c.LastTransitionTime, ago(time.Minute))
		}
	}
	if s := in.Pod.Status; s.PodIP != "10.0.0.2" || s.HostIP != "192.0.2.1" || s.StartTime == nil || s.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestEndedShowsItsAddress holds that a Pod which has ended shows the address it had, also when berth begins anew and nobody has it any more.
func TestEndedShowsItsAddress(t *testing.T) {
	for name, mutate := range map[string]func(*pod.Input){
		"stopped": live,
		"lost":    func(in *pod.Input) { in.Observed.Sandbox.Ready = false },
	} {
		t.Run(name, func(t *testing.T) {
			in := running(policy(corev1.RestartPolicyNever))
			exit(&in, "main", 0)
			mutate(&in)
			in.Pod.Status = corev1.PodStatus{}
			look(&in)
			if s := in.Pod.Status; s.Phase != corev1.PodSucceeded || s.PodIP != "10.0.0.2" || len(s.PodIPs) != 1 || s.PodIPs[0].IP != s.PodIP {
				t.Errorf("phase %s, address %q, %v", s.Phase, s.PodIP, s.PodIPs)
			}
		})
	}
}

// TestFinishedStaysFinished holds that an end that was reported is not taken back, whatever the machine has.
func TestFinishedStaysFinished(t *testing.T) {
	in := running(policy(corev1.RestartPolicyNever))
	exit(&in, "main", 0)
	look(&in)
	in.Observed = nil
	if got := told(look(&in)); len(got) > 0 || in.Pod.Status.Phase != corev1.PodSucceeded {
		t.Errorf("a finished Pod is %s and plans %q", in.Pod.Status.Phase, got)
	}
}
