package pod_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
	"berth/runtime"
)

var sleepHook = &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}

func withPostStart(c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{PostStart: sleepHook} }
func withPreStop(c *corev1.Container)   { c.Lifecycle = &corev1.Lifecycle{PreStop: sleepHook} }

// containers replaces the containers of the Pod.
func containers(list ...corev1.Container) func(*pod.Input) {
	return func(in *pod.Input) { in.Pod.Spec.Containers = list }
}

// hooked remembers the run of a hook that began a while ago.
func hooked(in *pod.Input, name string, kind reconcile.HookKind, since time.Duration, change ...func(*reconcile.HookRun)) {
	run := reconcile.HookRun{Began: in.Now.Add(-since)}
	if c := last(in, name); c != nil {
		run.Attempt = c.Attempt
	}
	for _, f := range change {
		f(&run)
	}
	if in.Memory.Hooks == nil {
		in.Memory.Hooks = map[reconcile.HookID]reconcile.HookRun{}
	}
	in.Memory.Hooks[reconcile.HookID{Container: name, Kind: kind}] = run
}

func done(r *reconcile.HookRun)   { r.Ended = now }
func failed(r *reconcile.HookRun) { r.Ended, r.Failure = now, "no such host" }

func signalled(in *pod.Input, since time.Duration) {
	if in.Memory.Signalled == nil {
		in.Memory.Signalled = map[string]reconcile.Signalled{}
	}
	in.Memory.Signalled["main"] = reconcile.Signalled{Attempt: last(in, "main").Attempt, At: in.Now.Add(-since)}
}

func verdict(name string, v pod.Probe) func(*pod.Input) {
	return func(in *pod.Input) { in.Probes = map[string]pod.Probe{name: v} }
}

const (
	hookMain  = "run PostStart hook of container main of Pod/shop/web"
	stopMain  = "run PreStop hook of container main of Pod/shop/web"
	stopping  = "Killing: Stopping container main"
	graceOver = "kill container main of Pod/shop/web: its grace is over"
)

func signal(name, why string) string {
	return "send signal 15 to container " + name + " of Pod/shop/web: " + why
}

func TestHooksAndProbes(t *testing.T) {
	livenessFailed := verdict("main", pod.Probe{Started: true, Ready: true, Failed: pod.Liveness})
	const unwell = "Container main failed liveness probe, will be restarted"
	main := func(change ...func(*corev1.Container)) func(*pod.Input) {
		return containers(container("main", change...))
	}
	three := func(in *pod.Input) {
		in.Pod.Spec.InitContainers = []corev1.Container{container("one", sidecar, withPreStop), container("two", sidecar)}
	}
	tests := map[string]struct {
		with   func(*pod.Input)
		mutate func(*pod.Input)
		want   []string
		events []string
		after  time.Duration
	}{
		"a hook runs once its container does": {with: main(withPostStart), want: []string{hookMain}},
		"a hook under way is waited for":      {with: main(withPostStart), mutate: func(in *pod.Input) { hooked(in, "main", reconcile.PostStart, time.Second) }},
		"a hook is done":                      {with: main(withPostStart), mutate: func(in *pod.Input) { hooked(in, "main", reconcile.PostStart, time.Second, done) }},
		"a failed hook ends its container": {
			with: main(withPostStart), mutate: func(in *pod.Input) { hooked(in, "main", reconcile.PostStart, time.Second, failed) },
			want: []string{signal("main", "FailedPostStartHook")}, events: []string{"Killing: FailedPostStartHook"}, after: 30 * time.Second,
		},
		"the next attempt has its own hook": {with: main(withPostStart), mutate: func(in *pod.Input) {
			hooked(in, "main", reconcile.PostStart, time.Second, done)
			exit(in, "main", 1)
			live(in)
		}, want: []string{hookMain}},
		"a container waits for the hook of the one before it": {
			with: containers(container("main", withPostStart), container("other")), mutate: func(in *pod.Input) { hooked(in, "main", reconcile.PostStart, time.Second) },
		},
		"a container starts after the hook of the one before it": {
			with: containers(container("main", withPostStart), container("other")), mutate: func(in *pod.Input) { hooked(in, "main", reconcile.PostStart, time.Second, done) },
			want: []string{"start container other of Pod/shop/web, attempt 0"},
		},
		"liveness fails": {mutate: livenessFailed, want: []string{signal("main", unwell)}, events: []string{"Killing: " + unwell}, after: 30 * time.Second},
		"liveness fails, and it has been told": {mutate: func(in *pod.Input) {
			livenessFailed(in)
			signalled(in, 10*time.Second)
		}, after: 20 * time.Second},
		"liveness fails, and it does not listen": {mutate: func(in *pod.Input) {
			livenessFailed(in)
			signalled(in, 30*time.Second)
		}, want: []string{graceOver}, after: 2 * time.Second},
		"liveness fails, with a grace of its own": {
			with: main(func(c *corev1.Container) {
				c.LivenessProbe = &corev1.Probe{TerminationGracePeriodSeconds: new(int64(4))}
			}), mutate: livenessFailed,
			want: []string{signal("main", unwell)}, events: []string{"Killing: " + unwell}, after: 4 * time.Second,
		},
		"liveness fails, and its hook goes first": {
			with: main(withPreStop), mutate: livenessFailed, want: []string{stopMain}, events: []string{"Killing: " + unwell}, after: 30 * time.Second,
		},
		"liveness fails, and its hook is done": {with: main(withPreStop), mutate: func(in *pod.Input) {
			livenessFailed(in)
			hooked(in, "main", reconcile.PreStop, 5*time.Second, done)
		}, want: []string{signal("main", unwell)}, after: 25 * time.Second},
		"liveness fails where nothing starts again": {
			with: policy(corev1.RestartPolicyNever), mutate: livenessFailed,
			want: []string{signal("main", "Container main failed liveness probe")}, events: []string{"Killing: Container main failed liveness probe"}, after: 30 * time.Second,
		},
		"liveness failed, and the clock was set back since": {mutate: func(in *pod.Input) {
			livenessFailed(in)
			signalled(in, -time.Hour)
		}, want: []string{graceOver}, after: 2 * time.Second},
		"the startup probe of a sidecar fails": {
			with: withSidecar, mutate: verdict("side", pod.Probe{Failed: pod.Startup}), want: []string{signal("side", "Init container side failed startup probe")},
			events: []string{"Killing: Init container side failed startup probe"}, after: 30 * time.Second,
		},
		"unready is not unwell": {mutate: verdict("main", pod.Probe{Started: true})},

		"deleted: the hook goes before the signal": {
			with: main(withPreStop), mutate: func(in *pod.Input) { deleted(in, 0) }, want: []string{stopMain}, events: []string{stopping}, after: 30 * time.Second,
		},
		"deleted: the hook is waited for": {with: main(withPreStop), mutate: func(in *pod.Input) {
			deleted(in, 10*time.Second)
			hooked(in, "main", reconcile.PreStop, 10*time.Second)
		}, after: 20 * time.Second},
		"deleted: the signal after the hook": {with: main(withPreStop), mutate: func(in *pod.Input) {
			deleted(in, 10*time.Second)
			hooked(in, "main", reconcile.PreStop, 10*time.Second, failed)
		}, want: []string{signal("main", "the pod is deleted")}, after: 20 * time.Second},
		"deleted: the hook has taken all the grace": {with: main(withPreStop), mutate: func(in *pod.Input) {
			deleted(in, 30*time.Second)
			hooked(in, "main", reconcile.PreStop, 30*time.Second)
		}, want: []string{signal("main", "the pod is deleted")}, after: 2 * time.Second},
		"deleted: a moment after the late signal": {with: main(withPreStop), mutate: func(in *pod.Input) {
			deleted(in, 31*time.Second)
			hooked(in, "main", reconcile.PreStop, 31*time.Second)
			signalled(in, time.Second)
		}, after: time.Second},
		"deleted: the end after the late signal": {with: main(withPreStop), mutate: func(in *pod.Input) {
			deleted(in, 32*time.Second)
			hooked(in, "main", reconcile.PreStop, 32*time.Second)
			signalled(in, 2*time.Second)
		}, want: []string{graceOver}, after: 2 * time.Second},
		"deleted by force: no hook": {with: main(withPreStop), mutate: func(in *pod.Input) {
			deleted(in, 0)
			*in.Pod.DeletionGracePeriodSeconds = 0
		}, want: []string{graceOver}, after: 2 * time.Second},
		"deleted: all hooks at once, the signal to workers first": {
			with: three, mutate: func(in *pod.Input) { deleted(in, 0) },
			want:   []string{signal("main", "the pod is deleted"), "run PreStop hook of container one of Pod/shop/web"},
			events: []string{stopping, "Killing: Stopping container one"}, after: 30 * time.Second,
		},
		"deleted: the last sidecar goes first": {
			with: three, mutate: func(in *pod.Input) {
				deleted(in, time.Second)
				hooked(in, "one", reconcile.PreStop, time.Second, done)
				exit(in, "main", 0)
			}, want: []string{signal("two", "the pod is deleted")}, events: []string{"Killing: Stopping container two"}, after: 29 * time.Second,
		},
		"deleted: then the first sidecar": {
			with: three, mutate: func(in *pod.Input) {
				deleted(in, time.Second)
				hooked(in, "one", reconcile.PreStop, time.Second, done)
				exit(in, "main", 0)
				exit(in, "two", 0)
			}, want: []string{signal("one", "the pod is deleted")}, after: 29 * time.Second,
		},
		"deleted: sidecars that did not come to their turn get their signal at the end of the grace": {
			with: three, mutate: func(in *pod.Input) {
				deleted(in, 30*time.Second)
				hooked(in, "one", reconcile.PreStop, 30*time.Second, done)
				signalled(in, 30*time.Second)
			}, want: []string{graceOver, signal("two", "the pod is deleted"), signal("one", "the pod is deleted")},
			events: []string{"Killing: Stopping container two"}, after: 2 * time.Second,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := running(func(in *pod.Input) {
				if tt.with != nil {
					tt.with(in)
				}
			})
			if tt.mutate != nil {
				tt.mutate(&in)
			}
			plan := pod.Plan(in)
			if diff := cmp.Diff(tt.want, told(plan)); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.events, withoutKey(events(plan))); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			for _, a := range plan.Actions {
				// Only what ends with its pod is an everyday thing.
				if e, ok := a.(reconcile.RecordEvent); ok && e.Routine != strings.HasPrefix(e.Message, "Stopping ") {
					t.Errorf("routine: %v: %s", e.Routine, e)
				}
			}
			if plan.RequeueAfter != tt.after {
				t.Errorf("looks again after %s, want %s", plan.RequeueAfter, tt.after)
			}
		})
	}
}

// Two containers that start in one plan would not wait for each other's hooks.
func TestHookHoldsTheNextStart(t *testing.T) {
	in := newly(containers(container("main", withPostStart), container("other")))
	if diff := cmp.Diff([]string{sandbox, start0}, told(pod.Plan(in))); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

// While its hook runs a container is being created, for users and for what waits for it.
func TestStatusWithHook(t *testing.T) {
	main := containers(container("main", withPostStart))
	tests := map[string]struct {
		with, mutate func(*pod.Input)
		want         string
	}{
		"the hook has not begun": {main, func(*pod.Input) {}, "Pending ContainerCreating"},
		"the hook runs":          {main, func(in *pod.Input) { hooked(in, "main", reconcile.PostStart, time.Second) }, "Pending ContainerCreating"},
		"the hook is done":       {main, func(in *pod.Input) { hooked(in, "main", reconcile.PostStart, time.Second, done) }, "Running running started ready"},
		"the hook has failed":    {main, func(in *pod.Input) { hooked(in, "main", reconcile.PostStart, time.Second, failed) }, "Pending PostStartHookError"},
		"a later attempt": {main, func(in *pod.Input) {
			hooked(in, "main", reconcile.PostStart, time.Second, done)
			look(in)
			exit(in, "main", 1)
			live(in)
			live(in)
		}, "Running ContainerCreating"},
		"its probe has failed": {main, func(in *pod.Input) {
			hooked(in, "main", reconcile.PostStart, time.Second, done)
			verdict("main", pod.Probe{Started: true, Ready: true, Failed: pod.Liveness})(in)
		}, "Running running started"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := running(tt.with)
			tt.mutate(&in)
			look(&in)
			s := in.Pod.Status.ContainerStatuses[0]
			words := []string{string(in.Pod.Status.Phase)}
			switch {
			case s.State.Waiting != nil:
				words = append(words, s.State.Waiting.Reason)
			case s.State.Running != nil:
				words = append(words, "running")
			}
			if *s.Started {
				words = append(words, "started")
			}
			if s.Ready {
				words = append(words, "ready")
			}
			if got := strings.Join(words, " "); got != tt.want {
				t.Errorf("status is %q, want %q", got, tt.want)
			}
		})
	}
}

// A sidecar lets the next container start once it has started, by its hook and by its startup probe.
func TestSidecarGatesTheNext(t *testing.T) {
	with := func(in *pod.Input) {
		in.Pod.Spec.InitContainers = []corev1.Container{container("side", sidecar, withPostStart)}
	}
	in := running(with)
	if slices.ContainsFunc(in.Observed.Containers, func(c runtime.ContainerStatus) bool { return c.Name == "main" }) {
		t.Fatal("main runs before the hook of the sidecar is done")
	}
	hooked(&in, "side", reconcile.PostStart, time.Second, done)
	verdict("side", pod.Probe{})(&in)
	if got := told(pod.Plan(in)); len(got) != 0 {
		t.Fatalf("before the startup probe of the sidecar succeeds: %v", got)
	}
	verdict("side", pod.Probe{Started: true})(&in)
	if diff := cmp.Diff([]string{start0}, told(pod.Plan(in))); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}

// withoutKey cuts the name of the Pod, which is the same in all.
func withoutKey(events []string) []string {
	for i, e := range events {
		events[i] = strings.TrimPrefix(e, "Pod/shop/web: ")
	}
	return events
}

// What a container newly waits for is told once, in the words of a kubelet.
func TestWaitingIsTold(t *testing.T) {
	image := func(s reconcile.ImageState) func(*pod.Input) {
		return func(in *pod.Input) { in.Images["web:1"] = s }
	}
	tests := map[string]struct {
		mutate func(*pod.Input)
		want   []string
	}{
		"it crashes":              {crashedAfter(5*time.Second, 10*time.Second), []string{"BackOff: Back-off restarting failed container main in pod web_shop(u-1)"}},
		"a pull has just failed":  {image(reconcile.ImageState{Failures: 1, LastFailure: ago(time.Second), LastError: "no such host"}), []string{`Failed: Failed to pull image "web:1": no such host`}},
		"a pull is not tried yet": {image(reconcile.ImageState{Failures: 1, LastFailure: ago(5 * time.Second), LastError: "no such host"}), []string{`BackOff: Back-off pulling image "web:1": no such host`}},
		"no pull is allowed": {
			func(in *pod.Input) { in.Images, in.Pod.Spec.Containers[0].ImagePullPolicy = nil, corev1.PullNever },
			[]string{`ErrImageNeverPull: Container image "web:1" is not present with pull policy of Never`},
		},
		"it is refused": {func(in *pod.Input) { in.Pod.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "disk"}} }, []string{
			`Failed: Error: spec.containers[0].volumeDevices: block devices are not supported (volume "disk")`,
		}},
		"where it runs": {func(in *pod.Input) { in.Pod.Spec.NodeName = "here" }, []string{"Scheduled: Successfully assigned shop/web to here"}},
		"nothing":       {func(*pod.Input) {}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := newly()
			if name == "it crashes" {
				in = running()
			}
			tt.mutate(&in)
			if diff := cmp.Diff(tt.want, withoutKey(events(look(&in)))); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if again := events(look(&in)); len(again) > 0 {
				t.Errorf("told again: %q", again)
			}
		})
	}
}
