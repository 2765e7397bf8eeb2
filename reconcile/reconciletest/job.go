package reconciletest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
	"berth/reconcile/cronjob"
	"berth/reconcile/job"
	"berth/runtime"
)

// jobs run to their end. What they have counted is in the state of the machine and outlives controllers and reboots.
func jobs() *kind {
	of := func(o reconcile.Object) *batchv1.Job { return o.(*batchv1.Job) }
	return &kind{
		name: reconcile.KindJob,
		make: func(w *world, _ string) reconcile.Object { return &batchv1.Job{Spec: w.jobSpec()} },
		edit: func(w *world, o reconcile.Object) { w.editJob(of(o)) },
		heal: func(_ *world, o reconcile.Object) { of(o).Spec.Suspend = new(false) },
		summary: func(o reconcile.Object) string {
			s := &of(o).Spec
			return fmt.Sprintf("%d × %s, %d at once, %s, suspended %v", *s.Completions, s.Template.Spec.Containers[0].Image, *s.Parallelism, *s.CompletionMode, *s.Suspend)
		},
		plan: func(w *world, o reconcile.Object) reconcile.Plan {
			w.nonce++
			owner, made := w.objectByUID(ownerUID(o.GetOwnerReferences())).(*batchv1.CronJob)
			return job.Plan(job.Input{
				Job: of(o), Pods: w.podsOf(o.GetUID()), Stated: !made, Awaited: made && cronjob.Unrecorded(owner, of(o)), Nonce: w.nonce, Now: w.clock.wall,
			})
		},
		recall:   func(reconcile.Object) {},
		reported: func(w *world, old, n reconcile.Object) { w.checkJobReport(of(old), of(n)) },
		made:     func(w *world, o reconcile.Object, p *corev1.Pod) { w.checkJobPod(of(o), p) },
		idle:     func(w *world, o reconcile.Object) { w.checkJobIdle(of(o)) },
		complete: func(w *world, o reconcile.Object) int { return w.checkJobComplete(of(o)) },
	}
}

func (w *world) jobSpec() batchv1.JobSpec {
	w.tags++
	spec := batchv1.JobSpec{
		Completions: new(int32(1 + w.rng.IntN(4))), Parallelism: new(int32(1 + w.rng.IntN(3))), BackoffLimit: new(int32(w.rng.IntN(4))), Suspend: new(w.rng.IntN(8) == 0),
		CompletionMode:       new(pick(w, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)),
		PodReplacementPolicy: new(pick(w, batchv1.TerminatingOrFailed, batchv1.TerminatingOrFailed, batchv1.Failed)),
		Template:             corev1.PodTemplateSpec{Spec: w.podSpec(fmt.Sprintf("%s:%d", pick(w, imageDone, imageDone, imageDone, imageCrash), w.tags))},
	}
	spec.Template.Spec.RestartPolicy = pick(w, corev1.RestartPolicyNever, corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure)
	if *spec.CompletionMode == batchv1.IndexedCompletion && spec.Template.Spec.RestartPolicy == corev1.RestartPolicyNever && w.rng.IntN(2) == 0 {
		spec.BackoffLimit, spec.BackoffLimitPerIndex = new(int32(1<<31-1)), new(int32(w.rng.IntN(2)))
	}
	if w.rng.IntN(4) == 0 {
		spec.TTLSecondsAfterFinished = new(int32(w.rng.IntN(100)))
	}
	if w.rng.IntN(8) == 0 {
		spec.ActiveDeadlineSeconds = new(int64(10 + w.rng.IntN(200)))
	}
	return spec
}

// editJob changes what may be changed of a Job.
func (w *world) editJob(j *batchv1.Job) {
	switch w.rng.IntN(3) {
	case 0:
		j.Spec.Parallelism = new(int32(1 + w.rng.IntN(3)))
	case 1:
		j.Spec.Suspend = new(w.rng.IntN(3) == 0)
	default:
		if j.Spec.BackoffLimitPerIndex == nil {
			j.Spec.BackoffLimit = new(int32(w.rng.IntN(4)))
		}
	}
}

func jobFinished(j *batchv1.Job) bool { return job.Finished(j) != nil }

// completed tells whether an index stands in what a status says, "0,2-4".
func completed(text string, i int) bool {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isSpan := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		if err == nil && (i == a || isSpan && a <= i && i <= b) {
			return true
		}
	}
	return false
}

func indexOf(p *corev1.Pod) int {
	i, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil {
		return -1
	}
	return i
}

// checkJobReport judges what a Job is about to say of itself.
func (w *world) checkJobReport(old, n *batchv1.Job) {
	was, is, total := &old.Status, &n.Status, 0
	for i := range int(*old.Spec.Completions) {
		if completed(is.CompletedIndexes, i) {
			total++
		}
	}
	switch {
	case jobFinished(old):
		w.fail("Job %s has finished, and changes its status", old.Name)
	case is.Succeeded < was.Succeeded || is.Failed < was.Failed:
		w.fail("Job %s counts backwards: from %+v to %+v", old.Name, was, is)
	case is.Succeeded > *old.Spec.Completions:
		w.fail("Job %s has %d successes of %d", old.Name, is.Succeeded, *old.Spec.Completions)
	case int(is.Succeeded+is.Failed) > w.tries[old.UID]:
		w.fail("Job %s counts %d successes and %d failures of %d pods", old.Name, is.Succeeded, is.Failed, w.tries[old.UID])
	case *old.Spec.CompletionMode == batchv1.IndexedCompletion && total != int(is.Succeeded):
		w.fail("Job %s has %d successes, completed are %s", old.Name, is.Succeeded, is.CompletedIndexes)
	case is.Active > *old.Spec.Parallelism:
		w.fail("Job %s reports %d active pods, wished are %d at most", old.Name, is.Active, *old.Spec.Parallelism)
	case jobFinished(n) && (is.Active > 0 || *is.Terminating > 0):
		w.fail("Job %s finishes while pods are left", old.Name)
	}
}

// checkJobPod judges a pod that was just made for a Job.
func (w *world) checkJobPod(j *batchv1.Job, p *corev1.Pod) {
	w.tries[j.UID]++
	failures := 0
	for _, other := range w.podsOf(j.UID) {
		if other.UID == p.UID {
			continue
		}
		if isActive(other) && indexOf(p) >= 0 && indexOf(other) == indexOf(p) {
			w.fail("pod %s of Job %s is made beside %s, of the same index", describe(p), j.Name, describe(other))
		}
		if other.Status.Phase == corev1.PodFailed && other.DeletionTimestamp == nil {
			failures++
		}
	}
	switch {
	case jobFinished(j) || *j.Spec.Suspend:
		w.fail("pod %s is made for Job %s, which has finished or is suspended", describe(p), j.Name)
	case w.activeAmong(w.podsOf(j.UID)) > int(*j.Spec.Parallelism):
		w.fail("pod %s is one too many: Job %s wants %d at once", describe(p), j.Name, *j.Spec.Parallelism)
	case completed(j.Status.CompletedIndexes, indexOf(p)):
		w.fail("pod %s is made for an index of Job %s that is complete", describe(p), j.Name)
	case failures > int(*j.Spec.BackoffLimit):
		w.fail("pod %s is made after %d failures, Job %s may have %d", describe(p), failures, j.Name, *j.Spec.BackoffLimit)
	}
	w.checkJobBackoff(j, p)
}

// checkJobBackoff holds that a pod which follows on a failure waits 10 s, and more for more failures in a row.
func (w *world) checkJobBackoff(j *batchv1.Job, p *corev1.Pod) {
	failures, last, success := 0, time.Duration(0), time.Duration(0)
	var ends []time.Duration
	for _, other := range w.podsOf(j.UID) {
		if j.Spec.BackoffLimitPerIndex != nil && indexOf(other) != indexOf(p) {
			continue
		}
		l := w.mainOf(other)
		switch {
		case l == nil || l.running || l.jumps != w.clock.jumps || other.DeletionTimestamp != nil:
			if other.Status.Phase == corev1.PodSucceeded {
				return // nobody knows when
			}
		case other.Status.Phase == corev1.PodSucceeded:
			success = max(success, l.ended)
		case other.Status.Phase == corev1.PodFailed && w.exitedBy(other):
			ends = append(ends, l.ended)
		}
	}
	for _, at := range ends {
		if at > success {
			failures++
			last = max(last, at)
		}
	}
	wait := 10 * time.Second
	for range failures - 1 {
		wait = min(6*time.Minute, 2*wait)
	}
	if past := w.clock.since - last; failures > 0 && past < wait {
		w.fail("pod %s of Job %s is made %s after failure %d, its back-off is %s", describe(p), j.Name, past, failures, wait)
	}
}

// exitedBy tells whether a pod has failed by its main program, whose end is known to the moment.
func (w *world) exitedBy(p *corev1.Pod) bool {
	status, there := w.machine(p.UID)
	for _, c := range status.Containers {
		if there && c.Name == p.Spec.Containers[0].Name && c.State == runtime.Exited && c.ExitCode != 0 && c.Reason != runtime.ReasonUnknown {
			return true
		}
	}
	return false
}

func (w *world) checkJobIdle(j *batchv1.Job) {
	active := w.activeAmong(w.podsOf(j.UID))
	if j.Status.Active != int32(active) {
		w.fail("Job %s reports %d active pods, there are %d", j.Name, j.Status.Active, active)
	}
	if _, waits := w.timers[reconcile.KeyOf(j)]; !jobFinished(j) && !*j.Spec.Suspend && active == 0 && !waits && *j.Status.Terminating == 0 {
		w.fail("Job %s has no pods, and nobody does anything about it", j.Name)
	}
}

// checkJobComplete judges the end: for good or for bad, and for the reason that is true.
func (w *world) checkJobComplete(j *batchv1.Job) int {
	s, end := &j.Status, job.Finished(j)
	switch {
	case end == nil:
		w.fail("Job %s never ends: %+v", j.Name, *s)
	case end.Type == batchv1.JobComplete && s.Succeeded != *j.Spec.Completions:
		w.fail("Job %s is complete with %d of %d", j.Name, s.Succeeded, *j.Spec.Completions)
	case end.Reason == batchv1.JobReasonFailedIndexes && s.FailedIndexes == nil:
		w.fail("Job %s has failed indexes, and names none", j.Name)
	}
	if j.Annotations[reconcile.AnnotationRecord] != "" {
		w.fail("Job %s has finished, and remembers %s", j.Name, j.Annotations[reconcile.AnnotationRecord])
	}
	pods := w.podsOf(j.UID)
	if len(pods) > 0 && j.Spec.TTLSecondsAfterFinished != nil {
		w.fail("Job %s has finished long ago, and keeps %d pods", j.Name, len(pods))
	}
	return len(pods)
}
