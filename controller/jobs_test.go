package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/manifests"
	"berth/reconcile"
)

// work is a Job of that name with the defaults that manifests fills in, whose program ends with the code at once.
func work(code, completions, parallelism int32, change ...func(*batchv1.JobSpec)) manifests.Object {
	j := &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "work"},
		Spec:       workSpec(code, completions, parallelism),
	}
	for _, c := range change {
		c(&j.Spec)
	}
	return object(manifests.Key{Group: "batch", Kind: "Job", Namespace: "shop", Name: "work"}, j)
}

func workSpec(code, completions, parallelism int32) batchv1.JobSpec {
	spec := batchv1.JobSpec{
		Completions: &completions, Parallelism: &parallelism, BackoffLimit: new(int32(6)), CompletionMode: new(batchv1.NonIndexedCompletion),
		Suspend: new(false), ManualSelector: new(false), PodReplacementPolicy: new(batchv1.TerminatingOrFailed),
		Template: corev1.PodTemplateSpec{Spec: podSpec("work:1")},
	}
	spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if code >= 0 {
		spec.Template.Spec.Containers[0].Args = []string{"exit", fmt.Sprint(code)}
	}
	return spec
}

func tick(schedule string, change ...func(*batchv1.CronJobSpec)) manifests.Object {
	c := &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tick"},
		Spec: batchv1.CronJobSpec{
			Schedule: schedule, ConcurrencyPolicy: batchv1.AllowConcurrent, Suspend: new(false), TimeZone: new("Etc/UTC"),
			SuccessfulJobsHistoryLimit: new(int32(3)), FailedJobsHistoryLimit: new(int32(1)),
			JobTemplate: batchv1.JobTemplateSpec{Spec: workSpec(0, 1, 1)},
		},
	}
	for _, f := range change {
		f(&c.Spec)
	}
	return object(manifests.Key{Group: "batch", Kind: "CronJob", Namespace: "shop", Name: "tick"}, c)
}

// starts counts the containers that were ever started.
func (w *world) starts() int {
	n := 0
	for _, c := range w.fake.Calls() {
		if strings.HasPrefix(c, "start") {
			n++
		}
	}
	return n
}

// jobs lists the Jobs there are.
func (w *world) jobs() []*batchv1.Job {
	var out []*batchv1.Job
	for _, it := range w.c.store.List(reconcile.KindJob) {
		out = append(out, it.Object.(*batchv1.Job))
	}
	return out
}

func TestAFinishedJobNeverRunsAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(work(0, 3, 2))
		s := w.settle()
		if row := s.Workloads[0]; !row.Done || row.Ready != 3 || w.starts() != 3 {
			t.Fatalf("%d starts: %s", w.starts(), table(s))
		}
		if len(s.Pods) != 3 || s.Pods[0].Reason != "Completed" || s.Pods[0].Owner != "Job/work" {
			t.Errorf("the pods do not stay: %s", table(s))
		}
		w.restart()
		w.settle()
		w.end()
		w.fake.Reboot()
		w.start()
		w.write(work(0, 3, 2))
		w.pass(time.Hour)
		if s := w.settle(); !s.Workloads[0].Done || w.starts() != 3 {
			t.Errorf("%d starts: %s", w.starts(), table(s))
		}
		w.write()
		w.pass(time.Minute)
		w.write(work(0, 3, 2))
		if w.settle(); w.starts() != 6 {
			t.Errorf("%d starts, its file was taken away and put back", w.starts())
		}
	})
}

func TestAFailedJob(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(work(3, 1, 1, func(s *batchv1.JobSpec) { s.BackoffLimit = new(int32(2)) }))
		began := time.Now()
		s := w.settle()
		if row := s.Workloads[0]; row.Done || row.Problem != "BackoffLimitExceeded: Job has reached the specified backoff limit" {
			t.Errorf("status: %s", table(s))
		}
		if took := time.Since(began).Round(time.Second); took != 30*time.Second || w.starts() != 3 {
			t.Errorf("%d tries took %s, want 3 within 10 s + 20 s", w.starts(), took)
		}
	})
}

func TestJobsAreKilledAtEveryStep(t *testing.T) {
	for _, mode := range []batchv1.CompletionMode{batchv1.NonIndexedCompletion, batchv1.IndexedCompletion} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%t", mode, after), func(t *testing.T) {
				steps := 0
				for hit := true; hit; steps++ {
					inWorld(t, func(w *world) {
						w.start()
						hit = w.killAt(steps, after, []manifests.Object{work(0, 3, 2, func(s *batchv1.JobSpec) { s.CompletionMode = &mode })})
						s := w.settle()
						if !s.Workloads[0].Done || w.starts() != 3 {
							t.Errorf("killed at step %d: %d starts, want 3: %s", steps, w.starts(), table(s))
						}
					})
				}
				if steps < 5 {
					t.Errorf("only %d steps were hit", steps)
				}
			})
		}
	}
}

func TestCronJobsAreKilledAtEveryStep(t *testing.T) {
	for _, after := range []bool{false, true} {
		steps := 0
		for hit := true; hit; steps++ {
			inWorld(t, func(w *world) {
				w.start()
				w.write(tick("* * * * *"))
				hit = w.killWithin(steps, after, 2*time.Minute+10*time.Second)
				w.pass(time.Minute)
				want := int(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Minute)
				if got := w.starts(); got != want {
					t.Errorf("killed at step %d, after=%t: %d starts in %d minutes", steps, after, got, want)
				}
			})
		}
		if steps < 5 {
			t.Errorf("only %d steps were hit", steps)
		}
	}
}

// killWithin kills the controller at an effect, if it comes to that within a time, and starts the next.
func (w *world) killWithin(step int, after bool, d time.Duration) bool {
	dir := filepath.Join(w.t.TempDir(), "copy")
	w.fake.KillAfter(step, after, func() {
		if err := os.CopyFS(dir, os.DirFS(w.dir)); err != nil {
			w.t.Errorf("cannot copy the state: %v", err)
		}
	})
	w.pass(d)
	hit := w.fake.Dead()
	if hit {
		w.dir = dir
	}
	w.restart()
	return hit
}

// TestTheMachineGoesDownAtAnyMoment copies the state after each change that was written, and goes on from it on an empty machine.
func TestTheMachineGoesDownAtAnyMoment(t *testing.T) {
	moment := 0
	for hit := true; hit; moment++ {
		inWorld(t, func(w *world) {
			w.start()
			w.write(work(0, 4, 1), tick("* * * * *"))
			if hit = w.killWithin(moment, true, 3*time.Minute); !hit {
				return
			}
			w.end()
			counted, last := w.jobs()[0].Status.Succeeded, w.cron().Status.LastScheduleTime
			w.fake.Reboot()
			before := w.starts()
			w.start()
			w.write(work(0, 4, 1), tick("* * * * *", func(s *batchv1.CronJobSpec) { s.Suspend = new(true) }))
			w.settle()
			if got := w.starts() - before; got > int(4-counted)+1 {
				t.Errorf("moment %d: %d were counted, and %d more are started", moment, counted, got)
			}
			if now := w.cron().Status.LastScheduleTime; last != nil && now.Before(last) {
				t.Errorf("moment %d: the last time was %s, and is %s", moment, last, now)
			}
		})
	}
	if moment < 5 {
		t.Errorf("only %d moments were hit", moment)
	}
}

func (w *world) cron() *batchv1.CronJob {
	w.t.Helper()
	c, ok := store.Get[*batchv1.CronJob](w.c.store, reconcile.Key{Kind: reconcile.KindCronJob, Namespace: "shop", Name: "tick"})
	if !ok {
		w.t.Fatal("no CronJob")
	}
	return c
}

func TestCronJob(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(tick("*/5 * * * *"))
		if s := w.settle(); !s.Workloads[0].Done || len(s.Pods) > 0 {
			t.Errorf("status: %s", table(s))
		}
		w.pass(26 * time.Minute)
		var names []string
		for _, j := range w.jobs() {
			names = append(names, j.Name)
		}
		// The world begins at minute 15778080.
		if want := []string{"tick-15778095", "tick-15778100", "tick-15778105"}; !slices.Equal(names, want) {
			t.Errorf("Jobs %v, want %v", names, want)
		}
		if s := w.c.Status(); len(s.Pods) != 3 || s.Pods[0].Owner != "CronJob/tick" {
			t.Errorf("status: %s", table(s))
		}
		w.write()
		w.pass(time.Minute)
		if len(w.jobs()) > 0 || len(w.fake.Pods()) > 0 {
			t.Errorf("left: %v, %v", w.jobs(), w.fake.Pods())
		}
	})
}

// TestACronJobRemembersItsTimes holds that a time is not used again when nothing is left of its Job.
func TestACronJobRemembersItsTimes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write(tick("0 * * * *", func(s *batchv1.CronJobSpec) { s.SuccessfulJobsHistoryLimit = new(int32(0)) }))
		w.pass(time.Hour + time.Minute)
		w.restart()
		w.pass(time.Minute)
		w.end()
		w.fake.Reboot()
		w.start()
		w.pass(time.Minute)
		if n := w.starts(); n != 1 || len(w.jobs()) > 0 {
			t.Errorf("%d starts, want 1; Jobs %v", n, w.jobs())
		}
	})
}

func TestTTL(t *testing.T) {
	inWorld(t, func(w *world) {
		ttl := func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = new(int32(60)) }
		w.start()
		w.write(work(0, 1, 1, ttl), tick("@every 10m", func(s *batchv1.CronJobSpec) { ttl(&s.JobTemplate.Spec) }))
		w.pass(59 * time.Second)
		if n := len(w.fake.Pods()); n != 1 {
			t.Errorf("%d pods, want the one that has finished", n)
		}
		w.pass(10*time.Minute + time.Second - 59*time.Second)
		if got := len(w.jobs()); got != 2 || len(w.fake.Pods()) != 1 {
			t.Errorf("%d Jobs and %d pods, want two and the one of the CronJob", got, len(w.fake.Pods()))
		}
		w.pass(time.Minute)
		if got := w.jobs(); len(got) != 1 || got[0].Name != "work" || len(w.fake.Pods()) != 0 {
			t.Errorf("left are %v and %d pods", got, len(w.fake.Pods()))
		}
	})
}

func TestWhatOfAJobMayChange(t *testing.T) {
	tests := map[string]struct {
		change func(*batchv1.JobSpec)
		want   string
	}{
		"parallelism": {func(s *batchv1.JobSpec) { s.Parallelism = new(int32(2)) }, ""},
		"suspend":     {func(s *batchv1.JobSpec) { s.Suspend = new(true) }, ""},
		"back-off limit, ttl, deadline": {func(s *batchv1.JobSpec) {
			s.BackoffLimit, s.TTLSecondsAfterFinished, s.ActiveDeadlineSeconds = new(int32(1)), new(int32(1)), new(int64(1000))
		}, ""},
		"completions": {func(s *batchv1.JobSpec) { s.Completions = new(int32(2)) }, "spec.completions"},
		"image":       {func(s *batchv1.JobSpec) { s.Template.Spec.Containers[0].Image = "work:2" }, "spec.template"},
		"mode":        {func(s *batchv1.JobSpec) { s.CompletionMode = new(batchv1.IndexedCompletion) }, "spec.completionMode"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.start()
				w.write(work(-1, 1, 1))
				w.pass(time.Second)
				w.wantRunning(1)
				w.write(work(-1, 1, 1, tt.change))
				w.pass(time.Second)
				var got []string
				for _, f := range w.c.Status().Faults {
					got = append(got, fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Field))
				}
				var want []string
				if tt.want != "" {
					want = []string{"work.yaml:1 " + tt.want}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got\n%s", diff)
				}
			})
		})
	}
}
