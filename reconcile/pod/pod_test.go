package pod_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

func container(name string, change ...func(*corev1.Container)) corev1.Container {
	c := corev1.Container{Name: name, Image: "web:1", ImagePullPolicy: corev1.PullIfNotPresent}
	for _, f := range change {
		f(&c)
	}
	return c
}

func sidecar(c *corev1.Container) {
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
}

// look plans once and takes in the status.
func look(in *pod.Input) reconcile.Plan {
	p := pod.Plan(*in)
	for _, a := range p.Actions {
		if u, ok := a.(reconcile.UpdateStatus); ok {
			in.Pod = u.Object.(*corev1.Pod)
		}
	}
	return p
}

// live carries a plan out on a machine in memory.
func live(in *pod.Input) {
	for _, a := range look(in).Actions {
		switch a := a.(type) {
		case reconcile.RunSandbox:
			if in.Observed == nil {
				in.Observed = &runtime.PodStatus{UID: "u-1"}
			} else {
				in.Observed.Sandbox.Attempt++
			}
			in.Observed.Sandbox.Ready, in.Observed.Sandbox.IP, in.Observed.Sandbox.CreatedAt = true, "10.0.0.2", in.Now
			write(in, a.Config.Volumes)
		case reconcile.StopSandbox:
			s := &in.Observed.Sandbox
			s.Ready, s.IP, s.FormerIP = false, "", s.IP
		case reconcile.UpdateFiles:
			write(in, a.Volumes)
		case reconcile.StartContainer:
			in.Observed.Containers = append(in.Observed.Containers, runtime.ContainerStatus{
				Name: a.Config.Name, Attempt: a.Config.Attempt, Backoff: a.Config.Backoff, SpecHash: a.Config.SpecHash,
				State: runtime.Running, ImageID: a.Config.ImageID, StartedAt: in.Now,
			})
		case reconcile.RemoveContainer:
			for i, c := range in.Observed.Containers {
				if c.Name == a.Container && c.Attempt == a.Attempt {
					in.Observed.Containers = append(in.Observed.Containers[:i:i], in.Observed.Containers[i+1:]...)
					break
				}
			}
		}
	}
}

// write puts files into the volumes of a machine in memory.
func write(in *pod.Input, volumes []runtime.Volume) {
	for _, v := range volumes {
		if v.Files == nil {
			continue
		}
		if in.Observed.Sandbox.Files == nil {
			in.Observed.Sandbox.Files = map[string]string{}
		}
		in.Observed.Sandbox.Files[v.Name] = v.Files.Hash
	}
}

// fresh is a Pod that nothing was done for yet, its image being there.
func fresh() pod.Input {
	grace := int64(30)
	return pod.Input{
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "u-1", CreationTimestamp: metav1.NewTime(ago(time.Hour)), Labels: map[string]string{"app": "web"}},
			Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
				Containers: []corev1.Container{container("main")},
			},
		},
		Images: map[string]reconcile.ImageState{"web:1": {Image: &runtime.Image{ID: "sha256:1"}}},
		Node:   pod.Node{Name: "here", HostIP: "192.0.2.1", CPUs: 4, Memory: 1 << 30, Disk: 20 << 30},
		Now:    now,
	}
}

// running is a Pod whose container has run for a minute.
func running(change ...func(*pod.Input)) pod.Input {
	in := fresh()
	for _, f := range change {
		f(&in)
	}
	in.Now = ago(time.Minute)
	for range 5 {
		live(&in)
	}
	in.Now = now
	look(&in)
	return in
}

func last(in *pod.Input, name string) *runtime.ContainerStatus {
	var c *runtime.ContainerStatus
	for i := range in.Observed.Containers {
		if in.Observed.Containers[i].Name == name {
			c = &in.Observed.Containers[i]
		}
	}
	return c
}

func exit(in *pod.Input, name string, code int) {
	c := last(in, name)
	c.State, c.ExitCode, c.FinishedAt = runtime.Exited, code, in.Now
}

func deleted(in *pod.Input, since time.Duration) {
	grace := int64(30)
	end := metav1.NewTime(in.Now.Add(30*time.Second - since))
	in.Pod.DeletionTimestamp, in.Pod.DeletionGracePeriodSeconds = &end, &grace
}

func withInit(in *pod.Input) {
	in.Pod.Spec.InitContainers = []corev1.Container{container("first"), container("side", sidecar), container("second")}
}

// withSidecar is a Pod that ends once its main container has.
func withSidecar(in *pod.Input) {
	in.Pod.Spec.InitContainers = []corev1.Container{container("side", sidecar)}
	in.Pod.Spec.RestartPolicy = corev1.RestartPolicyNever
}

func policy(p corev1.RestartPolicy) func(*pod.Input) {
	return func(in *pod.Input) { in.Pod.Spec.RestartPolicy = p }
}

// told lists a plan without statuses and events.
func told(p reconcile.Plan) []string {
	var out []string
	for _, a := range p.Actions {
		switch a.(type) {
		case reconcile.RecordEvent, reconcile.UpdateStatus:
		default:
			out = append(out, a.String())
		}
	}
	return out
}

const (
	sandbox = "run sandbox of Pod/shop/web"
	start0  = "start container main of Pod/shop/web, attempt 0"
	start1  = "start container main of Pod/shop/web, attempt 1"
	stopped = "stop sandbox of Pod/shop/web"
)

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		base   func(...func(*pod.Input)) pod.Input
		with   func(*pod.Input) // before it runs
		mutate func(*pod.Input)
		want   []string
		after  time.Duration
	}{
		"a new Pod": {base: newly, want: []string{sandbox, start0}},
		"a new Pod without its image": {
			base: newly, mutate: func(in *pod.Input) { in.Images = nil }, want: []string{"pull web:1 for Pod/shop/web", sandbox},
		},
		"its image is being pulled": {
			base: newly, mutate: func(in *pod.Input) { in.Images["web:1"] = reconcile.ImageState{Pulling: true} }, want: []string{sandbox},
		},
		"policy Always asks once": {
			base: newly, mutate: func(in *pod.Input) { in.Pod.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways },
			want: []string{"pull web:1 for Pod/shop/web", sandbox},
		},
		"policy Always has asked": {
			base: newly, mutate: func(in *pod.Input) {
				in.Pod.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
				in.Images["web:1"] = reconcile.ImageState{Image: &runtime.Image{}, PulledAt: ago(time.Minute)}
			}, want: []string{sandbox, start0},
		},
		"policy Never without the image": {
			base: newly, mutate: func(in *pod.Input) {
				in.Pod.Spec.Containers[0].ImagePullPolicy, in.Images = corev1.PullNever, nil
			}, want: []string{sandbox}, after: time.Minute,
		},
		"a pull has failed twice": {
			base: newly, mutate: func(in *pod.Input) {
				in.Images["web:1"] = reconcile.ImageState{Failures: 2, LastFailure: ago(5 * time.Second), LastError: "no"}
			}, want: []string{sandbox}, after: 15 * time.Second,
		},
		"a pull is tried again": {
			base: newly, mutate: func(in *pod.Input) {
				in.Images["web:1"] = reconcile.ImageState{Failures: 2, LastFailure: ago(20 * time.Second), LastError: "no"}
			}, want: []string{"pull web:1 for Pod/shop/web", sandbox},
		},
		"two containers": {
			base: newly, mutate: func(in *pod.Input) { in.Pod.Spec.Containers = append(in.Pod.Spec.Containers, container("other")) },
			want: []string{sandbox, start0, "start container other of Pod/shop/web, attempt 0"},
		},
		"init containers come first":  {base: newly, mutate: withInit, want: []string{sandbox, "start container first of Pod/shop/web, attempt 0"}},
		"a sidecar comes in its turn": {with: withInit, mutate: func(in *pod.Input) { exit(in, "first", 0) }, want: []string{"start container side of Pod/shop/web, attempt 0"}},
		"the init container after the sidecar": {with: withInit, mutate: func(in *pod.Input) {
			exit(in, "first", 0)
			live(in)
		}, want: []string{"start container second of Pod/shop/web, attempt 0"}},
		"after all init containers": {with: withInit, mutate: func(in *pod.Input) {
			exit(in, "first", 0)
			live(in)
			live(in)
			exit(in, "second", 0)
		}, want: []string{start0}},
		"a failed init container is tried again": {
			with: withInit, mutate: func(in *pod.Input) { exit(in, "first", 1) }, want: []string{"start container first of Pod/shop/web, attempt 1"},
		},
		"a failed init container ends a Pod that never restarts": {
			with: func(in *pod.Input) { withInit(in); in.Pod.Spec.RestartPolicy = corev1.RestartPolicyNever }, mutate: func(in *pod.Input) { exit(in, "first", 1) },
			want: []string{stopped},
		},
		"a sidecar is restarted also where nothing else is": {
			with: func(in *pod.Input) { withInit(in); in.Pod.Spec.RestartPolicy = corev1.RestartPolicyNever },
			mutate: func(in *pod.Input) {
				exit(in, "first", 0)
				live(in)
				live(in)
				exit(in, "second", 0)
				live(in)
				exit(in, "side", 1)
			}, want: []string{"start container side of Pod/shop/web, attempt 1"},
		},
		"nothing to do":                  {},
		"it crashed for the first time":  {mutate: func(in *pod.Input) { exit(in, "main", 1) }, want: []string{start1}},
		"it ended well and starts again": {mutate: func(in *pod.Input) { exit(in, "main", 0) }, want: []string{start1}},
		"on failure: it failed":          {with: policy(corev1.RestartPolicyOnFailure), mutate: func(in *pod.Input) { exit(in, "main", 1) }, want: []string{start1}},
		"on failure: it ended well":      {with: policy(corev1.RestartPolicyOnFailure), mutate: func(in *pod.Input) { exit(in, "main", 0) }, want: []string{stopped}},
		"never: it failed":               {with: policy(corev1.RestartPolicyNever), mutate: func(in *pod.Input) { exit(in, "main", 1) }, want: []string{stopped}},
		"its sandbox was stopped": {with: policy(corev1.RestartPolicyNever), mutate: func(in *pod.Input) {
			exit(in, "main", 1)
			live(in)
		}},
		"it crashed for the second time":    {mutate: crashedAfter(5*time.Second, 10*time.Second), after: 8 * time.Second},
		"it ran long enough to be forgiven": {mutate: crashedAfter(11*time.Minute, 160*time.Second), want: []string{start1}},
		"it was started for another wish": {mutate: func(in *pod.Input) {
			crashedAfter(5*time.Second, 10*time.Second)(in)
			last(in, "main").SpecHash = "other@0"
		}, want: []string{start1}},
		"the clock was set back during a back-off": {mutate: func(in *pod.Input) {
			crashedAfter(5*time.Second, 10*time.Second)(in)
			last(in, "main").FinishedAt = now.Add(time.Hour)
		}, want: []string{start1}},
		"a start has just failed and left nothing": {
			base: newly, mutate: refused(runtime.ReasonCreateError, time.Second), want: []string{sandbox}, after: 9 * time.Second,
		},
		"a refused start is tried again":               {base: newly, mutate: refused(runtime.ReasonCreateError, 10*time.Second), want: []string{sandbox, start0}},
		"a program that cannot be run is an ended one": {base: newly, mutate: refused(runtime.ReasonStartError, time.Second), want: []string{sandbox, start1}},
		"a sandbox could not be made a moment ago": {base: newly, mutate: func(in *pod.Input) {
			in.Memory.Sandbox = reconcile.SandboxFailure{Failures: 3, Message: "no address left", At: now.Add(-300 * time.Millisecond)}
		}, after: 500 * time.Millisecond},
		"a sandbox that could not be made is tried again": {base: newly, mutate: func(in *pod.Input) {
			in.Memory.Sandbox = reconcile.SandboxFailure{Failures: 3, Message: "no address left", At: now.Add(-time.Second)}
		}, want: []string{sandbox, start0}},
		"the sandbox is lost": {mutate: func(in *pod.Input) {
			in.Observed.Sandbox.Ready = false
			exit(in, "main", 137)
		}, want: []string{sandbox, start1}},
		"the sandbox is lost and something still runs": {
			mutate: func(in *pod.Input) { in.Observed.Sandbox.Ready = false },
			want:   []string{"kill container main of Pod/shop/web: the pod has lost its sandbox"}, after: 2 * time.Second,
		},
		"init containers run again in a new sandbox": {with: withInit, mutate: func(in *pod.Input) {
			exit(in, "first", 0)
			in.Observed.Sandbox.Ready = false
		}, want: []string{sandbox, "start container first of Pod/shop/web, attempt 1"}},
		"an old attempt is dropped": {mutate: func(in *pod.Input) {
			exit(in, "main", 1)
			live(in)
			exit(in, "main", 1)
			last(in, "main").Backoff = 0
			live(in)
		}, want: []string{"remove container main of Pod/shop/web, attempt 0"}},
		"deleted before anything was done": {base: newly, mutate: func(in *pod.Input) { deleted(in, 0) }, want: []string{"forget Pod/shop/web"}},
		"deleted": {
			mutate: func(in *pod.Input) { deleted(in, 0) },
			want:   []string{"send signal 15 to container main of Pod/shop/web: the pod is deleted"}, after: 30 * time.Second,
		},
		"deleted, with the image's own signal": {mutate: func(in *pod.Input) {
			deleted(in, 0)
			in.Images["web:1"] = reconcile.ImageState{Image: &runtime.Image{Config: runtime.ImageConfig{StopSignal: "SIGRTMIN+3"}}}
		}, want: []string{"send signal 37 to container main of Pod/shop/web: the pod is deleted"}, after: 30 * time.Second},
		"deleted and signalled": {mutate: func(in *pod.Input) {
			deleted(in, 10*time.Second)
			in.Memory.Signalled = map[string]reconcile.Signalled{"main": {At: in.Now}}
		}, after: 20 * time.Second},
		"its grace is over": {
			mutate: func(in *pod.Input) { deleted(in, 30*time.Second) },
			want:   []string{"kill container main of Pod/shop/web: its grace is over"}, after: 2 * time.Second,
		},
		"deleted without grace": {mutate: func(in *pod.Input) {
			deleted(in, 0)
			*in.Pod.DeletionGracePeriodSeconds = 0
		}, want: []string{"kill container main of Pod/shop/web: its grace is over"}, after: 2 * time.Second},
		"deleted and ended": {mutate: func(in *pod.Input) {
			deleted(in, 10*time.Second)
			exit(in, "main", 0)
		}, want: []string{"remove sandbox of Pod/shop/web", "forget Pod/shop/web"}},
		"the clock was set back during the grace": {mutate: func(in *pod.Input) {
			deleted(in, -time.Hour)
			in.Memory.Signalled = map[string]reconcile.Signalled{"main": {At: in.Now}}
		}, want: []string{"delete Pod/shop/web: the clock was set back"}, after: time.Hour + 30*time.Second},
		"the clock was set back by hours after the Pod has ended": {
			with: withSidecar, mutate: func(in *pod.Input) {
				exit(in, "main", 0)
				last(in, "main").FinishedAt = in.Now.Add(2 * time.Hour)
			},
			want: []string{"send signal 15 to container side of Pod/shop/web: the pod has ended"}, after: 2 * time.Second,
		},
		"the clock was set back by seconds after the Pod has ended": {
			with: withSidecar, mutate: func(in *pod.Input) {
				exit(in, "main", 0)
				last(in, "main").FinishedAt = in.Now.Add(10 * time.Second)
			},
			want: []string{"send signal 15 to container side of Pod/shop/web: the pod has ended"}, after: 40 * time.Second,
		},
		"a sidecar ends last": {with: withInit, mutate: func(in *pod.Input) {
			exit(in, "first", 0)
			live(in)
			deleted(in, 0)
			exit(in, "side", 0)
			live(in)
		}, want: []string{"remove sandbox of Pod/shop/web", "forget Pod/shop/web"}},
		"it runs longer than it may": {
			mutate: func(in *pod.Input) {
				limit := int64(50)
				in.Pod.Spec.ActiveDeadlineSeconds = &limit
			},
			want: []string{"send signal 15 to container main of Pod/shop/web: its active deadline is over"}, after: 20 * time.Second,
		},
		"its scheduling is gated": {base: newly, mutate: func(in *pod.Input) { in.Pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}} }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base := tt.base
			if base == nil {
				base = running
			}
			with := tt.with
			if with == nil {
				with = func(*pod.Input) {}
			}
			in := base(with)
			if tt.mutate != nil {
				tt.mutate(&in)
			}
			plan := pod.Plan(in)
			if diff := cmp.Diff(tt.want, told(plan)); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if plan.RequeueAfter != tt.after {
				t.Errorf("looks again after %s, want %s", plan.RequeueAfter, tt.after)
			}
		})
	}
}

func newly(change ...func(*pod.Input)) pod.Input {
	in := fresh()
	for _, f := range change {
		f(&in)
	}
	return in
}

// crashedAfter is a container that ended 2 s ago after a run, with a back-off to wait.
func crashedAfter(ran, backoff time.Duration) func(*pod.Input) {
	return func(in *pod.Input) {
		exit(in, "main", 1)
		c := last(in, "main")
		c.FinishedAt = ago(2 * time.Second)
		c.StartedAt, c.Backoff = c.FinishedAt.Add(-ran), backoff
	}
}

func refused(reason string, since time.Duration) func(*pod.Input) {
	return func(in *pod.Input) {
		hash := ""
		for _, a := range pod.Plan(*in).Actions {
			if s, ok := a.(reconcile.StartContainer); ok {
				hash = s.Config.SpecHash
			}
		}
		in.Memory.Failed = map[string]reconcile.StartFailure{"main": {SpecHash: hash, Reason: reason, Message: "no", At: ago(since)}}
	}
}

func TestBackoffDoubles(t *testing.T) {
	in := running()
	var got []time.Duration
	for range 8 {
		exit(&in, "main", 1)
		wait := pod.Plan(in).RequeueAfter
		got = append(got, wait)
		in.Now = in.Now.Add(wait)
		live(&in)
	}
	const s = time.Second
	want := []time.Duration{0, 10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 300 * s, 300 * s}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	if len(in.Observed.Containers) > 3 {
		t.Errorf("%d attempts are kept", len(in.Observed.Containers))
	}
}
