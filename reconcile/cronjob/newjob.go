package cronjob

import (
	"fmt"
	"maps"
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
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = at.Format(time.RFC3339)
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: reconcile.KindJob},
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%d", c.Name, at.Unix()/60), Namespace: c.Namespace, Labels: maps.Clone(t.Labels), Annotations: annotations,
			CreationTimestamp: metav1.NewTime(now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(c, batchv1.SchemeGroupVersion.WithKind(reconcile.KindCronJob))},
		},
		Spec: t.Spec,
	}
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
