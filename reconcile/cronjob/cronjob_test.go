package cronjob_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
	"berth/reconcile/cronjob"
)

var start = time.Date(2026, 1, 2, 3, 0, 30, 0, time.UTC)

// world is one CronJob with its Jobs: the planner's input, changed by its plans.
type world struct {
	cronjob.Input
	made    int
	ever    map[string]bool // names of all Jobs so far
	overlap bool            // a Job was made while another ran
	broken  string
	events  []string
}

func newWorld(schedule string, change ...func(*batchv1.CronJobSpec)) *world {
	spec := batchv1.CronJobSpec{
		Schedule: schedule, ConcurrencyPolicy: batchv1.AllowConcurrent, SuccessfulJobsHistoryLimit: new(int32(3)), FailedJobsHistoryLimit: new(int32(1)),
	}
	spec.JobTemplate.Annotations = map[string]string{"team": "night"}
	for _, f := range change {
		f(&spec)
	}
	return &world{ever: map[string]bool{}, Input: cronjob.Input{
		Now: start, Location: time.UTC,
		CronJob: &batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Name: "tick", Namespace: "shop", UID: "c", CreationTimestamp: metav1.NewTime(start)}, Spec: spec,
		},
	}}
}

// apply does what a plan says, up to so many actions; fewer is a crash.
func (w *world) apply(p reconcile.Plan, actions int) {
	for n, a := range p.Actions {
		if n == actions {
			return
		}
		switch a := a.(type) {
		case reconcile.UpdateStatus:
			w.CronJob = a.Object.(*batchv1.CronJob)
		case reconcile.CreateObject:
			w.create(a.Object.(*batchv1.Job).DeepCopy())
		case reconcile.DeleteObject:
			w.Jobs = slices.DeleteFunc(w.Jobs, func(j *batchv1.Job) bool { return j.UID == a.UID })
		case reconcile.RecordEvent:
			w.events = append(w.events, a.Reason)
		}
	}
}

func (w *world) create(j *batchv1.Job) {
	w.made++
	j.UID = types.UID(fmt.Sprintf("j%d", w.made))
	if w.ever[j.Name] && w.broken == "" {
		w.broken = "Job " + j.Name + " is made twice"
	}
	w.ever[j.Name] = true
	for _, other := range w.Jobs {
		w.overlap = w.overlap || !finished(other)
	}
	w.Jobs = append(w.Jobs, j)
}

func finished(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed })
}

func (w *world) settle(t *testing.T) reconcile.Plan {
	t.Helper()
	for range 10 {
		p := cronjob.Plan(w.Input)
		if len(p.Actions) == 0 {
			return p
		}
		w.apply(p, len(p.Actions))
	}
	t.Fatalf("no rest: %v", cronjob.Plan(w.Input).Actions)
	return reconcile.Plan{}
}

// wait lets time pass, pass by pass as the plans ask for it.
func (w *world) wait(t *testing.T, d time.Duration) {
	t.Helper()
	for end := w.Now.Add(d); ; {
		p := w.settle(t)
		if p.RequeueAfter == 0 || w.Now.Add(p.RequeueAfter).After(end) {
			w.Now = end
			w.settle(t)
			return
		}
		w.Now = w.Now.Add(p.RequeueAfter)
	}
}

// finish ends the oldest Job that runs.
func (w *world) finish(how batchv1.JobConditionType) {
	for i, j := range w.Jobs {
		if !finished(j) {
			j = j.DeepCopy()
			at := metav1.NewTime(w.Now)
			j.Status.StartTime = &j.CreationTimestamp
			j.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue, LastTransitionTime: at}}
			if how == batchv1.JobComplete {
				j.Status.CompletionTime = &at
			}
			w.Jobs[i] = j
			return
		}
	}
}

// times lists what the Jobs that there are were made for.
func (w *world) times() []string {
	var out []string
	for _, j := range w.Jobs {
		out = append(out, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	}
	slices.Sort(out)
	return out
}

func TestCronJobs(t *testing.T) {
	zurich := must(time.LoadLocation("Europe/Zurich"))
	forbid := func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ForbidConcurrent }
	replace := func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = batchv1.ReplaceConcurrent }
	tests := map[string]struct {
		schedule string
		change   []func(*batchv1.CronJobSpec)
		story    func(*testing.T, *world)
		want     []string
	}{
		"not yet":      {"* * * * *", nil, func(t *testing.T, w *world) { w.wait(t, 29*time.Second) }, nil},
		"every minute": {"* * * * *", nil, func(t *testing.T, w *world) { w.wait(t, 2*time.Minute) }, []string{"2026-01-02T03:01:00Z", "2026-01-02T03:02:00Z"}},
		"its own zone": {"30 4 * * *", nil, func(t *testing.T, w *world) { w.Location = zurich; w.wait(t, 2*time.Hour) }, []string{"2026-01-02T04:30:00+01:00"}},
		"an unknown zone": {"* * * * *", nil, func(t *testing.T, w *world) {
			w.Location = nil
			w.wait(t, time.Hour)
			holds(t, w, "UnknownTimeZone")
		}, nil},
		"a time that never comes": {"0 0 31 2 *", nil, func(t *testing.T, w *world) {
			w.wait(t, time.Hour)
			holds(t, w, "InvalidSchedule")
		}, nil},
		"no schedule": {"every day", nil, func(t *testing.T, w *world) {
			w.wait(t, time.Hour)
			holds(t, w, "UnparseableSchedule")
		}, nil},
		"of those that were missed the latest is run": {"*/10 * * * *", nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.Now = w.Now.Add(65 * time.Minute)
			w.settle(t)
			holds(t, w, "SuccessfulCreate")
		}, []string{"2026-01-02T04:00:00Z"}},
		"too many were missed, and the latest is run": {"* * * * *", nil, func(t *testing.T, w *world) {
			w.settle(t)
			w.Now = w.Now.AddDate(1, 0, 0)
			w.settle(t)
			holds(t, w, "TooManyMissedTimes", "SuccessfulCreate")
		}, []string{"2027-01-02T03:00:00Z"}},
		"missed beyond the deadline": {"0 * * * *", []func(*batchv1.CronJobSpec){func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = new(int64(100)) }}, func(t *testing.T, w *world) {
			w.settle(t)
			w.Now = w.Now.Add(65 * time.Minute)
			w.settle(t)
			holds(t, w, "MissSchedule")
		}, nil},
		"missed within the deadline": {"0 * * * *", []func(*batchv1.CronJobSpec){func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = new(int64(600)) }}, func(t *testing.T, w *world) {
			w.settle(t)
			w.Now = w.Now.Add(65 * time.Minute)
		}, []string{"2026-01-02T04:00:00Z"}},
		"forbidden while one runs, and made up for when it ends": {"* * * * *", []func(*batchv1.CronJobSpec){forbid}, func(t *testing.T, w *world) {
			w.wait(t, 150*time.Second)
			if len(w.Jobs) != 1 {
				t.Errorf("Jobs of %q, want one", w.times())
			}
			w.finish(batchv1.JobComplete)
			w.settle(t)
			holds(t, w, "SuccessfulCreate", "JobAlreadyActive", "JobAlreadyActive", "SawCompletedJob", "SuccessfulCreate")
		}, []string{"2026-01-02T03:01:00Z", "2026-01-02T03:03:00Z"}},
		"replaced": {"* * * * *", []func(*batchv1.CronJobSpec){replace}, func(t *testing.T, w *world) {
			w.wait(t, 150*time.Second)
		}, []string{"2026-01-02T03:03:00Z"}},
		"suspended, and made up for when it goes on": {"* * * * *", []func(*batchv1.CronJobSpec){func(s *batchv1.CronJobSpec) { s.Suspend = new(true) }}, func(t *testing.T, w *world) {
			w.wait(t, 10*time.Minute)
			if len(w.Jobs) > 0 {
				t.Errorf("Jobs of %q, want none", w.times())
			}
			w.CronJob = w.CronJob.DeepCopy()
			w.CronJob.Spec.Suspend = new(false)
		}, []string{"2026-01-02T03:10:00Z"}},
		"a changed schedule has missed nothing": {"0 3 * * *", nil, func(t *testing.T, w *world) {
			w.wait(t, 34*time.Hour) // it ran at 3, now it is past 13 o'clock
			w.CronJob = w.CronJob.DeepCopy()
			w.CronJob.Spec.Schedule = "0 12 * * *"
		}, []string{"2026-01-03T03:00:00Z"}},
		"two times in one minute": {"@every 20s", nil, func(t *testing.T, w *world) {
			w.wait(t, 100*time.Second)
		}, []string{"2026-01-02T03:00:50Z", "2026-01-02T03:01:10Z", "2026-01-02T03:02:10Z"}},
		"the history": {"* * * * *", []func(*batchv1.CronJobSpec){func(s *batchv1.CronJobSpec) {
			s.SuccessfulJobsHistoryLimit, s.FailedJobsHistoryLimit = new(int32(1)), new(int32(0))
		}}, func(t *testing.T, w *world) {
			for i := range 5 {
				w.wait(t, time.Minute)
				w.finish([]batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed}[i%2])
			}
		}, []string{"2026-01-02T03:05:00Z"}},
		"the clock is set back": {"* * * * *", nil, func(t *testing.T, w *world) {
			w.wait(t, 2*time.Minute)
			w.Now = w.Now.Add(-90 * time.Second)
			w.wait(t, 2*time.Minute)
		}, []string{"2026-01-02T03:01:00Z", "2026-01-02T03:02:00Z", "2026-01-02T03:03:00Z"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(tt.schedule, tt.change...)
			tt.story(t, w)
			w.settle(t)
			if diff := cmp.Diff(tt.want, w.times()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if w.broken != "" {
				t.Error(w.broken)
			}
		})
	}
}

// holds compares what was told so far.
func holds(t *testing.T, w *world, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, w.events); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestStatus holds what a CronJob says of its Jobs.
// The Job is what the API server of Kubernetes would make of the template: what the CronJob leaves open is filled in.
func TestJobsHaveDefaults(t *testing.T) {
	kept := func(s batchv1.JobSpec) batchv1.JobSpec {
		s.Template = corev1.PodTemplateSpec{}
		return s
	}
	usual := batchv1.JobSpec{
		Completions: new(int32(1)), Parallelism: new(int32(1)), BackoffLimit: new(int32(6)), CompletionMode: new(batchv1.NonIndexedCompletion),
		Suspend: new(false), ManualSelector: new(false), PodReplacementPolicy: new(batchv1.TerminatingOrFailed),
	}
	perIndex, policy, queue := usual, usual, usual
	perIndex.BackoffLimitPerIndex, perIndex.BackoffLimit = new(int32(1)), new(int32(math.MaxInt32))
	policy.PodFailurePolicy, policy.PodReplacementPolicy = &batchv1.PodFailurePolicy{}, new(batchv1.Failed)
	queue.Completions, queue.Parallelism = nil, new(int32(2))
	tests := map[string]struct{ stated, want batchv1.JobSpec }{
		"nothing":           {batchv1.JobSpec{}, usual},
		"a limit per index": {batchv1.JobSpec{BackoffLimitPerIndex: new(int32(1))}, perIndex},
		"a failure policy":  {batchv1.JobSpec{PodFailurePolicy: &batchv1.PodFailurePolicy{}}, policy},
		"a work queue":      {batchv1.JobSpec{Parallelism: new(int32(2))}, queue},
		"everything":        {perIndex, perIndex},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld("* * * * *", func(s *batchv1.CronJobSpec) {
				s.JobTemplate.Spec = tt.stated
				s.JobTemplate.Spec.Template.Labels = map[string]string{"app": "tick"}
			})
			w.Now = start.Add(time.Minute)
			w.settle(t)
			if diff := cmp.Diff(tt.want, kept(w.Jobs[0].Spec)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"app": "tick"}, w.Jobs[0].Labels); diff != "" {
				t.Errorf("labels (-want +got)\n%s", diff)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	w := newWorld("* * * * *")
	w.wait(t, time.Minute)
	s := w.CronJob.Status
	if len(s.Active) != 1 || s.Active[0].Name != "tick-29455381" || s.Active[0].UID != "j1" || !s.LastScheduleTime.Time.Equal(time.Date(2026, 1, 2, 3, 1, 0, 0, time.UTC)) {
		t.Errorf("status %+v", s)
	}
	w.finish(batchv1.JobComplete)
	w.settle(t)
	if s := w.CronJob.Status; len(s.Active) != 0 || s.LastSuccessfulTime == nil {
		t.Errorf("status %+v", s)
	}
	if w.Jobs[0].Annotations["team"] != "night" || !metav1.IsControlledBy(w.Jobs[0], w.CronJob) {
		t.Errorf("Job %+v", w.Jobs[0].ObjectMeta)
	}
}

// TestAnyLife lives through random events with crashes between any two actions and a clock that jumps.
func TestAnyLife(t *testing.T) {
	lives := 1000
	if testing.Short() {
		lives = 300
	}
	for seed := range lives {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		policy := []batchv1.ConcurrencyPolicy{batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent}[rng.IntN(3)]
		schedules := []string{"* * * * *", "*/3 * * * *", "@every 90s", "0 */2 * * *", "5,50 1-6/2 * * 1-5"}
		w := newWorld(schedules[rng.IntN(len(schedules))], func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = policy })
		if rng.IntN(3) == 0 {
			w.CronJob.Spec.StartingDeadlineSeconds = new(int64(rng.IntN(200)))
		}
		last := time.Time{}
		for range 80 {
			happen(w, rng, schedules)
			made := w.made
			p := cronjob.Plan(w.Input)
			w.apply(p, rng.IntN(2*len(p.Actions)+1))
			switch {
			case w.broken != "":
			case w.made > made+1:
				w.broken = "a pass makes two Jobs"
			case w.overlap && policy != batchv1.AllowConcurrent:
				w.broken = "a Job is made while another runs"
			case w.made > made:
				at := must(time.Parse(time.RFC3339, w.Jobs[len(w.Jobs)-1].Annotations[batchv1.CronJobScheduledTimestampAnnotation]))
				if !at.After(last) || at.After(w.Now) {
					w.broken = fmt.Sprintf("a Job is made at %s for %s, the last was for %s", w.Now, at, last)
				}
				last = at
			}
			if w.broken != "" {
				t.Fatalf("seed %d: %s %s: %s", seed, policy, w.CronJob.Spec.Schedule, w.broken)
			}
		}
		w.settle(t)
	}
}

func happen(w *world, rng *rand.Rand, schedules []string) {
	w.Now = w.Now.Add(time.Duration(rng.IntN(90)) * time.Second)
	switch rng.IntN(12) {
	case 0, 1, 2:
		w.finish(batchv1.JobComplete)
	case 3:
		w.finish(batchv1.JobFailed)
	case 4:
		w.Now = w.Now.Add(time.Duration(rng.IntN(50)) * time.Hour)
	case 5:
		w.Now = w.Now.Add(time.Duration(rng.IntN(7200)-3600) * time.Second)
	case 6:
		w.CronJob = w.CronJob.DeepCopy()
		w.CronJob.Spec.Suspend = new(rng.IntN(2) == 0)
	case 7:
		w.CronJob = w.CronJob.DeepCopy()
		w.CronJob.Spec.Schedule = schedules[rng.IntN(len(schedules))]
	case 8: // a Job's time after it finished is over
		if len(w.Jobs) > 0 && rng.IntN(3) == 0 {
			if i := rng.IntN(len(w.Jobs)); finished(w.Jobs[i]) && !cronjob.Unrecorded(w.CronJob, w.Jobs[i]) {
				w.Jobs = slices.Delete(slices.Clone(w.Jobs), i, i+1)
			}
		}
	}
}
