package cronjob

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// newJob makes the Job of a time, whose name says the minute: so each has one. The executor adds its UID.
func newJob(c *batchv1.CronJob, at, now time.Time) *batchv1.Job {
	t := c.Spec.JobTemplate.DeepCopy()
	annotations := maps.Clone(t.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels := t.Labels
	if len(labels) == 0 {
		labels = t.Spec.Template.Labels // as a Job that says nothing of its own
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = at.Format(time.RFC3339)
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: reconcile.KindJob},
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%d", c.Name, at.Unix()/60), Namespace: c.Namespace, Labels: maps.Clone(labels), Annotations: annotations,
			CreationTimestamp: metav1.NewTime(now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(c, batchv1.SchemeGroupVersion.WithKind(reconcile.KindCronJob))},
		},
		Spec: defaulted(t.Spec),
	}
}

// defaulted is the specification of a Job with what Kubernetes says where it says nothing (SetDefaults_Job): nothing is filled in within the template of a
// CronJob.
func defaulted(s batchv1.JobSpec) batchv1.JobSpec {
	if s.Completions == nil && s.Parallelism == nil {
		s.Completions = new(int32(1))
	}
	replace, limit := batchv1.TerminatingOrFailed, int32(6)
	if s.PodFailurePolicy != nil {
		replace = batchv1.Failed
	}
	if s.BackoffLimitPerIndex != nil {
		limit = math.MaxInt32 // the limit is each index's own
	}
	s.Parallelism = cmp.Or(s.Parallelism, new(int32(1)))
	s.BackoffLimit = cmp.Or(s.BackoffLimit, &limit)
	s.CompletionMode = cmp.Or(s.CompletionMode, new(batchv1.NonIndexedCompletion))
	s.Suspend = cmp.Or(s.Suspend, new(bool))
	s.PodReplacementPolicy = cmp.Or(s.PodReplacementPolicy, &replace)
	s.ManualSelector = cmp.Or(s.ManualSelector, new(bool))
	return s
}

// scheduledAt is the time of the schedule that a Job was made for.
func scheduledAt(j *batchv1.Job) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	return at, err == nil
}

// Unrecorded tells that the CronJob has not yet written down that it made the Job: were it forgotten now, it could be made again.
func Unrecorded(c *batchv1.CronJob, j *batchv1.Job) bool {
	at, ok := scheduledAt(j)
	return ok && (c.Status.LastScheduleTime == nil || at.After(c.Status.LastScheduleTime.Time))
}
