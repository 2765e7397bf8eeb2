package reconciletest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
	"berth/reconcile/cronjob"
	"berth/reconcile/job"
)

// cronJobs make a Job every so many minutes.
func cronJobs() *kind {
	of := func(o reconcile.Object) *batchv1.CronJob { return o.(*batchv1.CronJob) }
	return &kind{
		name: reconcile.KindCronJob,
		make: func(w *world, _ string) reconcile.Object { return w.cronJob() },
		edit: func(w *world, o reconcile.Object) { w.editCronJob(of(o)) },
		heal: func(_ *world, o reconcile.Object) { of(o).Spec.Suspend = new(true) }, // or there would be no end
		summary: func(o reconcile.Object) string {
			s := &of(o).Spec
			return fmt.Sprintf("%s, %s, suspended %v", s.Schedule, s.ConcurrencyPolicy, *s.Suspend)
		},
		plan: func(w *world, o reconcile.Object) reconcile.Plan {
			return cronjob.Plan(cronjob.Input{CronJob: of(o), Jobs: ownedBy[*batchv1.Job](w, o.GetUID()), Location: time.UTC, Now: w.clock.wall})
		},
		recall:     func(reconcile.Object) {},
		madeObject: func(w *world, o, j reconcile.Object) { w.checkScheduled(of(o), j.(*batchv1.Job)) },
		idle:       func(w *world, o reconcile.Object) { w.checkCronJobIdle(of(o)) },
		complete:   func(*world, reconcile.Object) int { return 0 }, // its Jobs count their pods
	}
}

func (w *world) cronJob() *batchv1.CronJob {
	c := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(w.clock.wall)},
		Spec: batchv1.CronJobSpec{
			Schedule: w.minutes(), ConcurrencyPolicy: pick(w, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent),
			Suspend: new(false), SuccessfulJobsHistoryLimit: new(int32(w.rng.IntN(3))), FailedJobsHistoryLimit: new(int32(w.rng.IntN(2))),
			JobTemplate: batchv1.JobTemplateSpec{Spec: w.jobSpec()},
		},
	}
	c.Spec.JobTemplate.Spec.Suspend = new(false)
	if w.rng.IntN(4) == 0 {
		c.Spec.StartingDeadlineSeconds = new(int64(w.rng.IntN(100)))
	}
	return c
}

func (w *world) minutes() string {
	return fmt.Sprintf("*/%d * * * *", pick(w, 1, 2, 5, 15, 30))
}

func (w *world) editCronJob(c *batchv1.CronJob) {
	switch w.rng.IntN(3) {
	case 0:
		c.Spec.Schedule = w.minutes()
	case 1:
		c.Spec.Suspend = new(w.rng.IntN(2) == 0)
	default:
		c.Spec.SuccessfulJobsHistoryLimit = new(int32(w.rng.IntN(3)))
	}
}

// lastMinute is the last time of a schedule of minutes up to a moment.
func lastMinute(c *batchv1.CronJob, now time.Time) time.Time {
	var n int
	if _, err := fmt.Sscanf(c.Spec.Schedule, "*/%d", &n); err != nil {
		return time.Time{}
	}
	return now.Truncate(time.Hour).Add(now.Sub(now.Truncate(time.Hour)).Truncate(time.Duration(n) * time.Minute))
}

// checkScheduled judges a Job that was just made by the clock.
func (w *world) checkScheduled(c *batchv1.CronJob, j *batchv1.Job) {
	at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	switch {
	case err != nil || !at.Equal(lastMinute(c, w.clock.wall)):
		w.fail("Job %s is made for %s at %s, schedule %s", j.Name, at, w.clock.wall, c.Spec.Schedule)
	case w.used[c.UID][j.Name]:
		w.fail("Job %s is made twice", j.Name)
	case *c.Spec.Suspend:
		w.fail("Job %s is made by a CronJob that is suspended", j.Name)
	}
	if w.used[c.UID] == nil {
		w.used[c.UID] = map[string]bool{}
	}
	w.used[c.UID][j.Name] = true
	for _, other := range ownedBy[*batchv1.Job](w, c.UID) {
		if other.UID != j.UID && !jobFinished(other) && c.Spec.ConcurrencyPolicy != batchv1.AllowConcurrent {
			w.fail("Job %s is made while %s runs, which is not to be: %s", j.Name, other.Name, c.Spec.ConcurrencyPolicy)
		}
	}
}

func (w *world) checkCronJobIdle(c *batchv1.CronJob) {
	var active, good, bad int
	for _, j := range ownedBy[*batchv1.Job](w, c.UID) {
		switch end := job.Finished(j); {
		case end == nil:
			active++
		case end.Type == batchv1.JobComplete:
			good++
		default:
			bad++
		}
	}
	if len(c.Status.Active) != active {
		w.fail("CronJob %s reports %d active Jobs, there are %d", c.Name, len(c.Status.Active), active)
	}
	if good > int(*c.Spec.SuccessfulJobsHistoryLimit) || bad > int(*c.Spec.FailedJobsHistoryLimit) {
		w.fail("CronJob %s keeps %d good and %d failed Jobs, more than its history has room for", c.Name, good, bad)
	}
	at := lastMinute(c, w.clock.wall)
	late := c.Spec.StartingDeadlineSeconds != nil && at.Add(time.Duration(*c.Spec.StartingDeadlineSeconds)*time.Second).Before(w.clock.wall)
	waits := *c.Spec.Suspend || late || active > 0 && c.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent
	last := c.Status.LastScheduleTime
	var record struct{ Since time.Time } // when the schedule was first seen
	if err := json.Unmarshal([]byte(c.Annotations[reconcile.AnnotationRecord]), &record); err != nil {
		w.fail("CronJob %s remembers %q", c.Name, c.Annotations[reconcile.AnnotationRecord])
	}
	if !waits && at.After(c.CreationTimestamp.Time) && at.After(record.Since) && (last == nil || last.Time.Before(at)) {
		w.fail("CronJob %s was due at %s, and nobody has made its Job", c.Name, at)
	}
	if strings.Contains(c.Annotations[reconcile.AnnotationRecord], "Unpars") {
		w.fail("CronJob %s cannot read its schedule: %s", c.Name, c.Spec.Schedule)
	}
}
