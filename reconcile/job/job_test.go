package job_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/job"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// world is one Job with its pods: the planner's input, changed by its plans.
type world struct {
	job.Input
	made   int
	events []string
	broken string             // the first thing that must not be
	gone   bool               // the Job was deleted
	blamed map[types.UID]bool // pods that failed by themselves; nil when nobody keeps count
}

func newWorld(change ...func(*batchv1.JobSpec)) *world {
	spec := batchv1.JobSpec{
		Completions: new(int32(1)), Parallelism: new(int32(1)), BackoffLimit: new(int32(6)), CompletionMode: new(batchv1.NonIndexedCompletion),
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "work:1"}},
		}},
	}
	for _, f := range change {
		f(&spec)
	}
	return &world{Input: job.Input{
		Now: start, Stated: true,
		Job: &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "work", Namespace: "shop", UID: "j"}, Spec: spec},
	}}
}

func sized(completions, parallelism int32) func(*batchv1.JobSpec) {
	return func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = &completions, &parallelism }
}

func indexed(s *batchv1.JobSpec) { s.CompletionMode = new(batchv1.IndexedCompletion) }

// apply does what a plan says, up to so many actions; fewer is a crash.
func (w *world) apply(p reconcile.Plan, actions int) {
	for n, a := range p.Actions {
		if n == actions {
			return
		}
		switch a := a.(type) {
		case reconcile.UpdateStatus:
			w.judge(a.Object.(*batchv1.Job))
			w.Job = a.Object.(*batchv1.Job)
		case reconcile.CreatePod:
			w.made++
			pod := a.Pod.DeepCopy()
			pod.UID = types.UID(fmt.Sprintf("p%d", w.made))
			w.Pods = append(w.Pods, pod)
			w.judgePods()
		case reconcile.DeletePod:
			for _, pod := range w.Pods {
				if pod.UID == a.UID && pod.DeletionTimestamp == nil {
					pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &metav1.Time{Time: w.Now.Add(30 * time.Second)}, new(int64(30))
				}
			}
		case reconcile.RecordEvent:
			w.events = append(w.events, a.Reason)
		case reconcile.DeleteObject:
			w.gone = true
		}
	}
}

func (w *world) plan() reconcile.Plan { w.Nonce++; return job.Plan(w.Input) }

// settle applies plans until they are quiet.
func (w *world) settle(t *testing.T) reconcile.Plan {
	t.Helper()
	for range 20 {
		p := w.plan()
		if len(p.Actions) == 0 {
			return p
		}
		w.apply(p, len(p.Actions))
	}
	t.Fatalf("no rest: %v", w.plan().Actions)
	return reconcile.Plan{}
}

// begin lets every pod that waits run.
func (w *world) begin() {
	for _, p := range w.Pods {
		if p.Status.Phase == corev1.PodPending {
			p.Status.Phase = corev1.PodRunning
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
	}
}

// finish ends a pod of an index, or with -1 any that runs.
func (w *world) finish(i, code int) *corev1.Pod {
	w.begin()
	for _, p := range w.Pods {
		if p.Status.Phase == corev1.PodRunning && (i < 0 || indexOf(p) == i) {
			end(p, code, w.Now)
			return p
		}
	}
	return nil
}

func end(p *corev1.Pod, code int, at time.Time) {
	p.Status.Phase = corev1.PodSucceeded
	if code != 0 {
		p.Status.Phase = corev1.PodFailed
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(at)}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: int32(code), FinishedAt: metav1.NewTime(at)},
	}}}
}

func indexOf(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil {
		return -1
	}
	return n
}

// remove takes away the pods that are ending.
func (w *world) remove() {
	w.Pods = slices.DeleteFunc(w.Pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// reboot takes away everything that the machine had.
func (w *world) reboot() { w.Pods = nil }

// told is the state of the Job in a line.
func (w *world) told() string {
	s := &w.Job.Status
	out := fmt.Sprintf("active %d succeeded %d failed %d", s.Active, s.Succeeded, s.Failed)
	if s.CompletedIndexes != "" {
		out += " completed " + s.CompletedIndexes
	}
	if s.FailedIndexes != nil {
		out += " failed indexes " + *s.FailedIndexes
	}
	for _, c := range s.Conditions {
		out += fmt.Sprintf(" %s=%s(%s)", c.Type, c.Status, c.Reason)
	}
	if w.gone {
		out += " deleted"
	}
	return out
}

func told(p reconcile.Plan) []string {
	var out []string
	for _, a := range p.Actions {
		switch a := a.(type) {
		case reconcile.RecordEvent:
		case reconcile.CreatePod:
			out = append(out, "create "+strings.TrimSuffix(a.Pod.GenerateName, "-"))
		default:
			out = append(out, a.String())
		}
	}
	return out
}

// TestJobs tells of Jobs from their beginning.
func TestJobs(t *testing.T) {
	const failedTwice = 2
	tests := map[string]struct {
		change []func(*batchv1.JobSpec)
		story  func(*testing.T, *world)
		want   string
	}{
		"one pod": {nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 0)
		}, "active 0 succeeded 1 failed 0 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)"},
		"three by two": {[]func(*batchv1.JobSpec){sized(3, 2)}, func(t *testing.T, w *world) {
			w.settle(t)
			if n := len(w.Pods); n != 2 {
				t.Errorf("%d pods at once, want 2", n)
			}
			w.finish(-1, 0)
		}, "active 2 succeeded 1 failed 0"},
		"no more than are missing": {[]func(*batchv1.JobSpec){sized(3, 2)}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 0)
			w.finish(-1, 0)
		}, "active 1 succeeded 2 failed 0"},
		"a failure waits 10 s": {nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 1)
			if p := w.settle(t); p.RequeueAfter != 10*time.Second {
				t.Errorf("looks again after %s, want 10s", p.RequeueAfter)
			}
		}, "active 0 succeeded 0 failed 1"},
		"the second failure waits 20 s": {nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 1)
			w.Now = w.Now.Add(10 * time.Second)
			w.settle(t)
			w.finish(-1, 1)
			if p := w.settle(t); p.RequeueAfter != 20*time.Second {
				t.Errorf("looks again after %s, want 20s", p.RequeueAfter)
			}
		}, "active 0 succeeded 0 failed 2"},
		"the back-off limit": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(1)) }}, func(t *testing.T, w *world) {
			for range failedTwice {
				w.settle(t)
				w.finish(-1, 1)
				w.Now = w.Now.Add(time.Minute)
			}
		}, "active 0 succeeded 0 failed 2 FailureTarget=True(BackoffLimitExceeded) Failed=True(BackoffLimitExceeded)"},
		"restarts in place count, too": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) {
			s.BackoffLimit, s.Template.Spec.RestartPolicy = new(int32(2)), corev1.RestartPolicyOnFailure
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.begin()
			w.Pods[0].Status.ContainerStatuses[0].RestartCount = 2
			w.settle(t)
			w.remove()
		}, "active 0 succeeded 0 failed 1 FailureTarget=True(BackoffLimitExceeded) Failed=True(BackoffLimitExceeded)"},
		"the end waits for the last pod": {[]func(*batchv1.JobSpec){sized(2, 2), func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(0)) }}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 1)
		}, "active 0 succeeded 0 failed 2 FailureTarget=True(BackoffLimitExceeded)"},
		"the deadline": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = new(int64(60)) }}, func(t *testing.T, w *world) {
			if p := w.settle(t); p.RequeueAfter != time.Minute {
				t.Errorf("looks again after %s, want 1m", p.RequeueAfter)
			}
			w.begin()
			w.Now = w.Now.Add(time.Minute)
			w.settle(t)
			w.remove()
		}, "active 0 succeeded 0 failed 1 FailureTarget=True(DeadlineExceeded) Failed=True(DeadlineExceeded)"},
		"suspended, pods do not count": {nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.begin()
			w.Job.Spec.Suspend = new(true)
			w.settle(t)
			end(w.Pods[0], 143, w.Now)
			w.settle(t)
			w.remove()
		}, "active 0 succeeded 0 failed 0 Suspended=True(JobSuspended)"},
		"suspended, and a pod ends while the order to end it is lost": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(0)) }}, func(t *testing.T, w *world) {
			w.settle(t)
			w.begin()
			w.Job.Spec.Suspend = new(true)
			w.apply(w.plan(), 1) // killed behind the first action: what was given up is written down
			end(w.Pods[0], 143, w.Now)
			if w.settle(t); w.Pods[0].DeletionTimestamp == nil {
				t.Error("a pod that was given up stays and looks like a failure")
			}
			if n := *w.Job.Status.Terminating; n != 0 {
				t.Errorf("%d pods are said to be ending, it has ended", n)
			}
			w.Job.Spec.Suspend = new(false)
		}, "active 1 succeeded 0 failed 0 Suspended=False(JobResumed)"},
		"resumed": {nil, func(t *testing.T, w *world) {
			w.Job.Spec.Suspend = new(true)
			w.settle(t)
			if len(w.Pods) > 0 || w.Job.Status.StartTime != nil {
				t.Error("a suspended Job starts")
			}
			w.Job.Spec.Suspend = new(false)
		}, "active 1 succeeded 0 failed 0 Suspended=False(JobResumed)"},
		"indexes": {[]func(*batchv1.JobSpec){sized(5, 3), indexed}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(2, 0)
			w.finish(0, 0)
		}, "active 3 succeeded 2 failed 0 completed 0,2"},
		"all indexes": {[]func(*batchv1.JobSpec){sized(3, 3), indexed}, func(t *testing.T, w *world) {
			w.settle(t)
			for i := range 3 {
				w.finish(i, 0)
			}
		}, "active 0 succeeded 3 failed 0 completed 0-2 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)"},
		"an index fails for itself": {[]func(*batchv1.JobSpec){sized(2, 2), indexed, func(s *batchv1.JobSpec) {
			s.BackoffLimit, s.BackoffLimitPerIndex = new(int32(1<<31-1)), new(int32(0))
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(0, 1)
			w.settle(t)
			w.finish(1, 0)
		}, "active 0 succeeded 1 failed 1 completed 1 failed indexes 0 FailureTarget=True(FailedIndexes) Failed=True(FailedIndexes)"},
		"an index tries again by itself": {[]func(*batchv1.JobSpec){sized(2, 2), indexed, func(s *batchv1.JobSpec) {
			s.BackoffLimit, s.BackoffLimitPerIndex = new(int32(1<<31-1)), new(int32(1))
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(0, 1)
			w.settle(t)
			w.Now = w.Now.Add(10 * time.Second)
			w.settle(t)
			if got := w.Pods[2].Annotations[batchv1.JobIndexFailureCountAnnotation]; got != "1" {
				t.Errorf("the pod of the second try carries %q failures, want 1", got)
			}
		}, "active 2 succeeded 0 failed 1 failed indexes "},
		"too many failed indexes": {[]func(*batchv1.JobSpec){sized(4, 2), indexed, func(s *batchv1.JobSpec) {
			s.BackoffLimit, s.BackoffLimitPerIndex, s.MaxFailedIndexes = new(int32(1<<31-1)), new(int32(0)), new(int32(0))
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(1, 1)
			w.settle(t)
			w.remove()
		}, "active 0 succeeded 0 failed 2 failed indexes 1 FailureTarget=True(MaxFailedIndexesExceeded) Failed=True(MaxFailedIndexesExceeded)"},
		"a work queue is done when one pod says so and the others end": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) {
			s.Completions, s.Parallelism = nil, new(int32(2))
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 0)
			w.settle(t)
			if w.Job.Status.Active != 1 {
				t.Errorf("%s: the other pod goes on", w.told())
			}
			w.finish(-1, 0)
		}, "active 0 succeeded 2 failed 0 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)"},
		"fewer at once": {[]func(*batchv1.JobSpec){sized(5, 3)}, func(t *testing.T, w *world) {
			w.settle(t)
			w.begin()
			w.Job.Spec.Parallelism = new(int32(1))
			w.settle(t)
			w.remove()
		}, "active 1 succeeded 0 failed 0"},
		"a pod that somebody ends is replaced at once": {nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.begin()
			w.Pods[0].DeletionTimestamp = &metav1.Time{Time: w.Now}
			w.Now = w.Now.Add(time.Minute)
		}, "active 1 succeeded 0 failed 1"},
		"a pod that somebody ends is replaced when it has ended": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) {
			s.PodReplacementPolicy = new(batchv1.Failed)
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.begin()
			w.settle(t)
			w.Pods[0].DeletionTimestamp = &metav1.Time{Time: w.Now}
			if w.settle(t); len(w.Pods) != 1 {
				t.Errorf("%d pods, the first has not ended", len(w.Pods))
			}
			w.remove()
		}, "active 1 succeeded 0 failed 1"},
		"exit codes that mean the end": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) {
			s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action:      batchv1.PodFailurePolicyActionFailJob,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}},
			}}}
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 42)
		}, "active 0 succeeded 0 failed 1 FailureTarget=True(PodFailurePolicy) Failed=True(PodFailurePolicy)"},
		"exit codes that do not count": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) {
			s.BackoffLimit = new(int32(0))
			s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action:      batchv1.PodFailurePolicyActionIgnore,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpNotIn, Values: []int32{42}},
			}}}
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 1)
			w.settle(t)
			w.Now = w.Now.Add(10 * time.Second)
		}, "active 1 succeeded 0 failed 0"},
		"conditions that do not count": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) {
			s.BackoffLimit = new(int32(0))
			s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action:          batchv1.PodFailurePolicyActionIgnore,
				OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
			}}}
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			p := w.finish(-1, 1)
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue})
		}, "active 0 succeeded 0 failed 0"},
		"an exit code that ends its index": {[]func(*batchv1.JobSpec){sized(2, 1), indexed, func(s *batchv1.JobSpec) {
			s.BackoffLimit, s.BackoffLimitPerIndex = new(int32(1<<31-1)), new(int32(5))
			s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: batchv1.PodFailurePolicyActionFailIndex,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
					ContainerName: new("main"), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42},
				},
			}}}
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(0, 42)
		}, "active 1 succeeded 0 failed 1 failed indexes 0"},
		"enough indexes": {[]func(*batchv1.JobSpec){sized(3, 3), indexed, func(s *batchv1.JobSpec) {
			s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededCount: new(int32(2))}}}
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(0, 0)
			w.finish(2, 0)
			w.settle(t)
			w.remove()
		}, "active 0 succeeded 2 failed 0 completed 0,2 SuccessCriteriaMet=True(SuccessPolicy) Complete=True(SuccessPolicy)"},
		"managed by somebody else": {
			[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) { s.ManagedBy = new("example.com/queue") }},
			func(*testing.T, *world) {},
			"active 0 succeeded 0 failed 0",
		},
		"some indexes are enough": {[]func(*batchv1.JobSpec){sized(3, 3), indexed, func(s *batchv1.JobSpec) {
			s.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: new("0")}}}
		}}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(0, 0)
			w.settle(t)
			w.remove()
		}, "active 0 succeeded 1 failed 0 completed 0 SuccessCriteriaMet=True(SuccessPolicy) Complete=True(SuccessPolicy)"},
		"what ran when the machine went down has failed": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(0)) }}, func(t *testing.T, w *world) {
			w.settle(t)
			w.begin()
			w.settle(t)
			w.reboot()
		}, "active 0 succeeded 0 failed 1 FailureTarget=True(BackoffLimitExceeded) Failed=True(BackoffLimitExceeded)"},
		"what had not begun when the machine went down is made again": {nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.reboot()
		}, "active 1 succeeded 0 failed 0"},
		"what was counted is counted after a reboot": {[]func(*batchv1.JobSpec){sized(2, 1)}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 0)
			w.settle(t)
			w.reboot()
		}, "active 1 succeeded 1 failed 0"},
		"a finished Job does not run again": {nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 0)
			w.settle(t)
			w.reboot()
		}, "active 0 succeeded 1 failed 0 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)"},
		"its time is over": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = new(int32(60)) }}, func(t *testing.T, w *world) {
			w.Stated = false
			w.settle(t)
			w.finish(-1, 0)
			if p := w.settle(t); p.RequeueAfter != time.Minute {
				t.Errorf("looks again after %s, want 1m", p.RequeueAfter)
			}
			w.Now = w.Now.Add(time.Minute)
			w.apply(w.plan(), 1)
		}, "active 0 succeeded 1 failed 0 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached) deleted"},
		"its time is over, and its CronJob has not seen it": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = new(int32(0)) }}, func(t *testing.T, w *world) {
			w.Stated, w.Awaited = false, true
			w.settle(t)
			w.finish(-1, 0)
			if p := w.settle(t); p.RequeueAfter == 0 {
				t.Error("nobody looks again")
			}
		}, "active 0 succeeded 1 failed 0 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)"},
		"its time is over, and a file states it": {[]func(*batchv1.JobSpec){func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = new(int32(60)) }}, func(t *testing.T, w *world) {
			w.settle(t)
			w.finish(-1, 0)
			w.settle(t)
			w.Now = w.Now.Add(time.Minute)
			w.settle(t)
			if w.remove(); len(w.Pods) > 0 {
				t.Error("its pods stay")
			}
		}, "active 0 succeeded 1 failed 0 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(tt.change...)
			tt.story(t, w)
			if !w.gone {
				w.settle(t)
			}
			if diff := cmp.Diff(tt.want, w.told()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if w.broken != "" {
				t.Error(w.broken)
			}
		})
	}
}

// TestManyPods holds that a Job of many completions does not use up the machine, and counts them all.
func TestManyPods(t *testing.T) {
	w := newWorld(sized(1200, 300), indexed)
	for range 6 {
		w.settle(t)
		for range 300 {
			w.finish(-1, 0)
			w.Now = w.Now.Add(time.Millisecond)
		}
		w.settle(t)
		w.remove()
	}
	if diff := cmp.Diff("active 0 succeeded 1200 failed 0 completed 0-1199 SuccessCriteriaMet=True(CompletionsReached) Complete=True(CompletionsReached)", w.told()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if n := len(w.Pods); n != 500 {
		t.Errorf("%d pods are kept, want 500", n)
	}
}

// TestOrder holds that what is written down comes before what is done.
func TestOrder(t *testing.T) {
	w := newWorld(sized(3, 3), indexed)
	if diff := cmp.Diff([]string{"update status", "create work-0", "create work-1", "create work-2"}, told(w.plan())); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	w.settle(t)
	w.Job.Spec.Suspend = new(true)
	got := told(w.plan())
	if len(got) != 4 || got[0] != "update status" || !strings.HasSuffix(got[1], ": the Job is suspended") {
		t.Errorf("got %q", got)
	}
}

// TestJobPod holds what a pod of an index is told.
func TestJobPod(t *testing.T) {
	w := newWorld(sized(2, 2), indexed)
	w.Job.Name = strings.Repeat("long-", 12)[:59]
	w.settle(t)
	p := w.Pods[1]
	if len(p.Name) > 63 || !strings.Contains(p.Name, "-1-") || p.Spec.Hostname != w.Job.Name+"-1" {
		t.Errorf("name %q, host name %q", p.Name, p.Spec.Hostname)
	}
	want := map[string]string{
		"batch.kubernetes.io/job-completion-index": "1", "batch.kubernetes.io/job-name": w.Job.Name, "batch.kubernetes.io/controller-uid": "j",
		"job-name": w.Job.Name, "controller-uid": "j",
	}
	if diff := cmp.Diff(want, p.Labels); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if env := p.Spec.Containers[0].Env; len(env) != 1 || env[0].Name != "JOB_COMPLETION_INDEX" || env[0].ValueFrom.FieldRef.FieldPath != "metadata.labels['batch.kubernetes.io/job-completion-index']" {
		t.Errorf("environment %v", env)
	}
	if len(w.Job.Spec.Template.Spec.Containers[0].Env) > 0 {
		t.Error("the template was changed")
	}
	w = newWorld(func(s *batchv1.JobSpec) {
		s.ManualSelector, s.Template.Labels = new(true), map[string]string{"app": "own"}
	})
	w.settle(t)
	if diff := cmp.Diff(map[string]string{"app": "own"}, w.Pods[0].Labels); diff != "" {
		t.Errorf("manualSelector: -want +got\n%s", diff)
	}
}
