package pod_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/pod"
)

// hears tells whether a plan lets a container hear of its end: by its hook, its signal, or death.
func hears(p reconcile.Plan) bool {
	return slices.ContainsFunc(p.Actions, func(a reconcile.Action) bool {
		switch a.(type) {
		case reconcile.SignalContainer, reconcile.RunHook, reconcile.KillContainer:
			return true
		}
		return false
	})
}

// A pod that new connections are sent to does not hear of its end, until they are not any more, or it has taken too long.
func TestNoEndWhileRouted(t *testing.T) {
	deleted := func(grace int64) func(*pod.Input) {
		return func(in *pod.Input) {
			in.Pod.DeletionTimestamp = new(metav1.NewTime(now.Add(time.Duration(grace) * time.Second)))
			in.Pod.DeletionGracePeriodSeconds = &grace
		}
	}
	unwell := func(in *pod.Input) {
		in.Probes = map[string]pod.Probe{"main": {Started: true, Ready: true, Failed: pod.Liveness}}
	}
	hook := func(in *pod.Input) {
		in.Pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
	}
	sideUnwell := func(in *pod.Input) {
		in.Probes = map[string]pod.Probe{"side": {Started: true, Ready: true, Failed: pod.Liveness}}
	}
	overdue := func(in *pod.Input) {
		in.Pod.Spec.ActiveDeadlineSeconds = new(int64(now.Sub(in.Pod.Status.StartTime.Time) / time.Second))
	}
	tests := map[string]struct {
		with   func(*pod.Input)
		change func(*pod.Input)
		limit  time.Duration // after which it hears of it all the same
	}{
		"deleted":                    {change: deleted(30), limit: 5 * time.Second},
		"deleted with little grace":  {change: deleted(4), limit: 2 * time.Second},
		"deleted by force":           {change: deleted(0)},
		"with a hook":                {change: func(in *pod.Input) { hook(in); deleted(30)(in) }, limit: 5 * time.Second},
		"failed its liveness probe":  {change: unwell, limit: 5 * time.Second},
		"a sidecar failed its probe": {with: withSidecar, change: sideUnwell, limit: 5 * time.Second},
		"its time is over":           {change: overdue, limit: 5 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.with == nil {
				tt.with = func(*pod.Input) {}
			}
			in := running(tt.with)
			live(&in)
			tt.change(&in)
			if p := look(&in); !hears(p) {
				t.Errorf("nobody is sent to it, and it does not end: %v", p.Actions)
			}
			in = running(tt.with)
			live(&in)
			tt.change(&in)
			in.Routed = true
			if p := look(&in); hears(p) != (tt.limit == 0) || tt.limit > 0 && (p.RequeueAfter <= 0 || p.RequeueAfter > tt.limit) {
				t.Errorf("at once: %v, again after %s", p.Actions, p.RequeueAfter)
			}
			in.Now = now.Add(tt.limit - time.Millisecond)
			if p := look(&in); hears(p) != (tt.limit == 0) {
				t.Errorf("a moment before: %v", p.Actions)
			}
			in.Now = now.Add(tt.limit)
			if p := look(&in); !hears(p) {
				t.Errorf("after %s: %v", tt.limit, p.Actions)
			}
		})
	}
}

// A clock that was set back since takes nothing of the wait: the deletion is dated anew, and the wait begins with that.
func TestNoEndWhileRoutedAndTheClockIsSetBack(t *testing.T) {
	in := running()
	live(&in)
	in.Pod.DeletionTimestamp = new(metav1.NewTime(now.Add(time.Minute + 30*time.Second)))
	in.Pod.DeletionGracePeriodSeconds = new(int64(30))
	in.Routed = true
	p := look(&in)
	dated := slices.ContainsFunc(p.Actions, func(a reconcile.Action) bool { _, ok := a.(reconcile.DeletePod); return ok })
	if !dated || hears(p) || p.RequeueAfter != 5*time.Second {
		t.Errorf("%v, again after %s", p.Actions, p.RequeueAfter)
	}
}

// A pod that is to end by itself is not ready, so that it is taken out of service first.
func TestEndingIsNotReady(t *testing.T) {
	in := running()
	live(&in)
	in.Pod.Spec.ActiveDeadlineSeconds = new(int64(1))
	in.Routed = true
	look(&in)
	for _, c := range in.Pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionFalse {
			t.Errorf("ready: %s", c.Status)
		}
	}
}
