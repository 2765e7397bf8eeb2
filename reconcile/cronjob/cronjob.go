// Package cronjob decides when a CronJob makes a Job, which of its Jobs have served their time, and what is to be told of both.
//
// No time of a schedule gets two Jobs: a Job is named for its time, and a time counts as used up as soon as its Job exists, whether or not
// that could still be written into the status.
package cronjob

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// Input is what is known of one CronJob. Nothing in it is changed.
type Input struct {
	CronJob *batchv1.CronJob
	// Jobs are all that the CronJob owns, by UID.
	Jobs []*batchv1.Job
	// Location is that of spec.timeZone, or the machine's own where none is stated; nil when nobody knows it.
	Location *time.Location
	Now      time.Time
}

// Plan returns the Job to make, if one is due, the status, and the Jobs to forget. A Job is made before it is written down: what a crash leaves
// in between is seen by the next pass.
func Plan(in Input) reconcile.Plan {
	p := newPass(in)
	p.look()
	if in.CronJob.DeletionTimestamp == nil {
		p.schedule()
		p.forgetOld()
	}
	return p.plan()
}

// pass is one look at one CronJob.
type pass struct {
	in   Input
	cron *batchv1.CronJob
	key  reconcile.Key

	status batchv1.CronJobStatus // as it is to be
	record record
	active []*batchv1.Job
	last   time.Time // the newest time that has been used up

	before, after []reconcile.Action
	next          time.Duration
}

func newPass(in Input) *pass {
	c := in.CronJob
	p := &pass{
		in: in, cron: c, status: *c.Status.DeepCopy(), record: recordOf(c),
		key: reconcile.Key{Kind: reconcile.KindCronJob, Namespace: c.Namespace, Name: c.Name},
	}
	p.in.Jobs = slices.Clone(in.Jobs)
	slices.SortFunc(p.in.Jobs, func(a, b *batchv1.Job) int { return cmp.Compare(a.Name, b.Name) })
	return p
}

func (p *pass) plan() reconcile.Plan {
	plan := reconcile.Plan{Actions: p.before, RequeueAfter: p.next}
	updated := *p.cron // what is not of the status is shared: nobody writes into an object
	updated.Status = p.status
	updated.Annotations = p.record.in(p.cron.Annotations)
	if !apiequality.Semantic.DeepEqual(&p.status, &p.cron.Status) || updated.Annotations[reconcile.AnnotationRecord] != p.cron.Annotations[reconcile.AnnotationRecord] {
		plan.Actions = append(plan.Actions, reconcile.UpdateStatus{Object: &updated})
	}
	plan.Actions = append(plan.Actions, p.after...)
	return plan
}

// look finds out which Jobs run, which have ended since the last look, and up to which time the schedule has been followed.
func (p *pass) look() {
	if t := p.status.LastScheduleTime; t != nil {
		p.last = t.Time
	}
	exists := map[string]bool{}
	for _, j := range p.in.Jobs {
		exists[string(j.UID)] = true
		if at, ok := scheduledAt(j); ok && at.After(p.last) {
			p.last = at
		}
		c := finished(j)
		if c == nil {
			p.active = append(p.active, j)
			continue
		}
		if slices.ContainsFunc(p.status.Active, func(r corev1.ObjectReference) bool { return r.UID == j.UID }) {
			p.note(false, "SawCompletedJob", fmt.Sprintf("Saw completed job: %s, condition: %s", j.Name, c.Type))
		}
		if done, was := j.Status.CompletionTime, p.status.LastSuccessfulTime; c.Type == batchv1.JobComplete && done != nil && (was == nil || done.After(was.Time)) {
			p.status.LastSuccessfulTime = done
		}
	}
	for _, r := range p.status.Active {
		if !exists[string(r.UID)] {
			p.note(false, "MissingJob", "Active job went missing: "+r.Name)
		}
	}
	p.status.Active = nil
	for _, j := range p.active {
		p.status.Active = append(p.status.Active, corev1.ObjectReference{
			APIVersion: batchv1.SchemeGroupVersion.String(), Kind: reconcile.KindJob, Namespace: j.Namespace, Name: j.Name, UID: j.UID,
		})
	}
	p.used(p.last)
}

// used writes down that the schedule has been followed up to a time.
func (p *pass) used(at time.Time) {
	p.last = at
	if !at.IsZero() && (p.status.LastScheduleTime == nil || !p.status.LastScheduleTime.Time.Equal(at)) {
		p.status.LastScheduleTime = &metav1.Time{Time: at}
	}
}

// schedule makes the Job of the latest time that has come and was not used. Earlier ones that were missed are not made up for.
func (p *pass) schedule() {
	spec := &p.cron.Spec
	p.record.follow(spec, p.in.Now)
	if p.in.Location == nil {
		p.tell(true, "UnknownTimeZone", fmt.Sprintf("invalid timeZone: %q", zone(spec)), time.Time{})
		return
	}
	s, err := parse(spec.Schedule, p.in.Location)
	if err != nil {
		p.tell(true, "UnparseableSchedule", fmt.Sprintf("unparseable schedule: %q : %s", spec.Schedule, err), time.Time{})
		return
	}
	if spec.Suspend != nil && *spec.Suspend {
		return
	}
	if next := s.after(p.in.Now); !next.IsZero() {
		p.again(next.Sub(p.in.Now))
	} else {
		p.tell(true, "InvalidSchedule", fmt.Sprintf("invalid schedule: %s : its time never comes", spec.Schedule), time.Time{})
	}
	since := p.since()
	at := s.latest(since, p.in.Now)
	if at.IsZero() {
		return
	}
	if limit := spec.StartingDeadlineSeconds; limit != nil && at.Add(time.Duration(*limit)*time.Second).Before(p.in.Now) {
		p.tell(true, "MissSchedule", "Missed scheduled time to start a job: "+at.UTC().Format(time.RFC1123Z), at)
		return
	}
	if len(p.active) > 0 && spec.ConcurrencyPolicy == batchv1.ForbidConcurrent {
		p.tell(false, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid", at)
		return
	}
	if s.many(since, p.in.Now) {
		p.tell(true, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew", at)
	}
	p.start(at)
}

// since is the moment after which times of the schedule count: the last one used, or when this schedule was first seen, so that a changed
// schedule has missed nothing.
func (p *pass) since() time.Time {
	since := p.cron.CreationTimestamp.Time
	for _, t := range []time.Time{p.last, p.record.Since} {
		if t.After(since) {
			since = t
		}
	}
	return since
}

// start makes the Job of a time, and under Replace ends those that still run.
func (p *pass) start(at time.Time) {
	j := newJob(p.cron, at.In(p.in.Location), p.in.Now)
	p.used(at)
	if slices.ContainsFunc(p.in.Jobs, func(other *batchv1.Job) bool { return other.Name == j.Name }) {
		return // two times in one minute: one name
	}
	if p.cron.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		for _, old := range p.active {
			p.before = append(p.before, p.delete(old, "the next one is due"))
			p.note(false, "SuccessfulDelete", "Deleted job "+old.Name)
		}
		p.status.Active = nil
	}
	p.before = append(p.before, reconcile.CreateObject{Object: j})
	p.note(false, "SuccessfulCreate", "Created job "+j.Name)
}

// forgetOld forgets finished Jobs beyond the limits of the history, the oldest first, after they were written down.
func (p *pass) forgetOld() {
	p.forgetBeyond(p.cron.Spec.SuccessfulJobsHistoryLimit, batchv1.JobComplete)
	p.forgetBeyond(p.cron.Spec.FailedJobsHistoryLimit, batchv1.JobFailed)
}

func (p *pass) forgetBeyond(limit *int32, how batchv1.JobConditionType) {
	if limit == nil {
		return
	}
	var list []*batchv1.Job
	for _, j := range p.in.Jobs {
		if c := finished(j); c != nil && c.Type == how {
			list = append(list, j)
		}
	}
	slices.SortStableFunc(list, func(a, b *batchv1.Job) int { return startOf(a).Compare(startOf(b)) })
	for _, j := range list[:max(0, len(list)-int(*limit))] {
		p.after = append(p.after, p.delete(j, "beyond the history limit"))
		p.note(false, "SuccessfulDelete", "Deleted job "+j.Name)
	}
}

func startOf(j *batchv1.Job) time.Time {
	if j.Status.StartTime != nil {
		return j.Status.StartTime.Time
	}
	return j.CreationTimestamp.Time
}

func (p *pass) delete(j *batchv1.Job, why string) reconcile.Action {
	return reconcile.DeleteObject{Key: reconcile.Key{Kind: reconcile.KindJob, Namespace: j.Namespace, Name: j.Name}, UID: j.UID, Reason: why}
}

func (p *pass) again(after time.Duration) {
	if after = max(after, time.Millisecond); p.next == 0 || after < p.next {
		p.next = after
	}
}

func (p *pass) note(warning bool, reason, message string) {
	p.after = append(p.after, reconcile.RecordEvent{Key: p.key, UID: p.cron.UID, Warning: warning, Reason: reason, Message: message})
}

// tell notes what stands in the way of a time, once.
func (p *pass) tell(warning bool, reason, message string, at time.Time) {
	told := reason
	if !at.IsZero() {
		told += " " + at.UTC().Format(time.RFC3339)
	}
	if p.record.Told != told {
		p.record.Told = told
		p.note(warning, reason, message)
	}
}

// finished is the condition that ended a Job, nil while it has none.
func finished(j *batchv1.Job) *batchv1.JobCondition {
	for i := range j.Status.Conditions {
		c := &j.Status.Conditions[i]
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}
