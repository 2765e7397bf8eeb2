package job

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// Messages of conditions, as Kubernetes words them.
const (
	reached         = "Reached expected number of succeeded pods"
	beyondBackoff   = "Job has reached the specified backoff limit"
	beyondDeadline  = "Job was active longer than specified deadline"
	tooManyIndexes  = "Job has exceeded the specified maximal number of failed indexes"
	someIndexes     = "Job has failed indexes"
	suspendedReason = "JobSuspended"
	resumedReason   = "JobResumed"
)

// decide takes the Job a step on: towards its end if that is decided, or else towards the pods it wants.
func (p *pass) decide() {
	if p.status.StartTime == nil && !p.suspended() {
		p.status.StartTime = &metav1.Time{Time: p.in.Now}
	}
	switch {
	case isTrue(p.status.Conditions, batchv1.JobSuccessCriteriaMet):
		p.succeed()
	case isTrue(p.status.Conditions, batchv1.JobFailureTarget):
		p.fail()
	default:
		if reason, message := p.failing(); reason != "" {
			p.set(batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message)
			p.fail()
			return
		}
		if rule := p.successRule(); rule >= 0 {
			p.set(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonSuccessPolicy, fmt.Sprintf("Matched rules at index %d", rule))
			p.succeed()
			return
		}
		p.manage()
		if p.complete() {
			p.set(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonCompletionsReached, reached)
			p.succeed()
			return
		}
		p.tellSuspended()
	}
}

// failing is why the Job has failed, if it has.
func (p *pass) failing() (reason, message string) {
	limit := value(p.spec.BackoffLimit, 6) // the default of Kubernetes
	switch {
	case p.cause != "":
		return batchv1.JobReasonPodFailurePolicy, p.cause
	case p.status.Failed > limit || p.spec.Template.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && restarts(p.active) >= max(1, limit):
		return batchv1.JobReasonBackoffLimitExceeded, beyondBackoff
	case p.overdue():
		return batchv1.JobReasonDeadlineExceeded, beyondDeadline
	case p.spec.MaxFailedIndexes != nil && p.failedIndexes.len() > int(*p.spec.MaxFailedIndexes):
		return batchv1.JobReasonMaxFailedIndexesExceeded, tooManyIndexes
	case p.failedIndexes.len() > 0 && p.failedIndexes.len()+p.completed.len() >= int(*p.spec.Completions):
		return batchv1.JobReasonFailedIndexes, someIndexes
	}
	return "", ""
}

func (p *pass) overdue() bool {
	if p.spec.ActiveDeadlineSeconds == nil || p.suspended() {
		return false
	}
	left := p.status.StartTime.Add(time.Duration(*p.spec.ActiveDeadlineSeconds) * time.Second).Sub(p.in.Now)
	if left > 0 {
		p.again(left)
	}
	return left <= 0
}

// fail ends every pod, each of which counts as failed, and then the Job.
func (p *pass) fail() {
	for _, pod := range p.in.Pods {
		if ended(pod) || p.record.marks[pod.UID].over() {
			continue
		}
		p.record.mark(pod.UID, failed)
		if !p.indexed() || p.index(pod) >= 0 {
			p.status.Failed++
		}
		if pod.DeletionTimestamp == nil {
			p.end(pod, "the Job has failed")
			p.terminating++
		}
	}
	p.active = nil
	if p.terminating > 0 {
		return
	}
	why := find(p.status.Conditions, batchv1.JobFailureTarget)
	p.set(batchv1.JobFailed, corev1.ConditionTrue, why.Reason, why.Message)
	p.note(true, why.Reason, why.Message)
	p.record = newRecord()
}

// succeed ends the pods that are not needed any more, and then the Job.
func (p *pass) succeed() {
	p.giveUp(p.active, "the Job has what it needs")
	if p.terminating > 0 {
		return
	}
	why := find(p.status.Conditions, batchv1.JobSuccessCriteriaMet)
	p.set(batchv1.JobComplete, corev1.ConditionTrue, why.Reason, why.Message)
	p.status.CompletionTime = &metav1.Time{Time: p.in.Now}
	if n := p.spec.Completions; n != nil && !p.indexed() && p.status.Succeeded > *n {
		p.note(true, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
	}
	p.note(false, "Completed", "Job completed")
	p.record = newRecord()
}

// complete tells whether nothing is left to do. A Job without completions has done its work when one pod says so and the others have ended.
func (p *pass) complete() bool {
	if p.spec.Completions == nil {
		return p.done() > 0 && len(p.active) == 0
	}
	return p.done() >= *p.spec.Completions && len(p.active) == 0
}

// done is how many completions there are.
func (p *pass) done() int32 {
	if p.indexed() {
		return int32(p.completed.len())
	}
	return p.status.Succeeded
}

// tellSuspended writes that the Job is suspended, or is not any more: then its time begins anew.
func (p *pass) tellSuspended() {
	was := isTrue(p.status.Conditions, batchv1.JobSuspended)
	switch {
	case p.suspended() && !was:
		p.set(batchv1.JobSuspended, corev1.ConditionTrue, suspendedReason, "Job suspended")
		p.status.StartTime = nil
		p.note(false, "Suspended", "Job suspended")
	case !p.suspended() && was:
		p.set(batchv1.JobSuspended, corev1.ConditionFalse, resumedReason, "Job resumed")
		p.status.StartTime = &metav1.Time{Time: p.in.Now}
		p.note(false, "Resumed", "Job resumed")
	}
}

// report writes the counts.
func (p *pass) report() {
	s := &p.status
	s.Active = int32(len(p.active)) + int32(p.created)
	ready := readyOf(p.active)
	s.Ready, s.Terminating = &ready, &p.terminating
	if !p.indexed() {
		return
	}
	s.Succeeded, s.CompletedIndexes = p.done(), p.completed.String()
	if p.spec.BackoffLimitPerIndex != nil {
		text := p.failedIndexes.String()
		s.FailedIndexes = &text
	}
}

func readyOf(pods []*corev1.Pod) (n int32) {
	for _, pod := range pods {
		if ready(pod) {
			n++
		}
	}
	return n
}

// tidyUp removes what a finished Job leaves when its time is over: its pods, and the Job itself unless a file states it.
func (p *pass) tidyUp() {
	for _, pod := range p.in.Pods {
		if !ended(pod) && pod.DeletionTimestamp == nil {
			p.end(pod, "the Job has finished")
		}
	}
	p.dropOld()
	ttl := p.spec.TTLSecondsAfterFinished
	if ttl == nil {
		return
	}
	if left := Finished(p.job).LastTransitionTime.Add(time.Duration(*ttl) * time.Second).Sub(p.in.Now); left > 0 {
		if len(p.in.Pods) > 0 || !p.in.Stated {
			p.again(left)
		}
		return
	}
	if p.in.Awaited {
		p.again(time.Second)
		return
	}
	if !p.in.Stated {
		p.before = append(p.before, reconcile.DeleteObject{Key: p.key, UID: p.job.UID, Reason: "its time after it finished is over"})
		return
	}
	for _, pod := range p.in.Pods {
		if ended(pod) && pod.DeletionTimestamp == nil {
			p.end(pod, "the time of the finished Job is over")
		}
	}
}

// mostKept is how many pods of a Job stay when they have ended, for their logs: each holds an address and namespaces of the machine, which
// has 4096 addresses by default. Kubernetes, too, removes ended pods when there are many.
const mostKept = 500

// dropOld ends the pods that ended first, beyond those that are kept.
func (p *pass) dropOld() {
	var over []*corev1.Pod
	for _, pod := range p.in.Pods {
		if ended(pod) && pod.DeletionTimestamp == nil {
			over = append(over, pod)
		}
	}
	slices.SortStableFunc(over, func(a, b *corev1.Pod) int { return endedAt(a).Compare(endedAt(b)) })
	for _, pod := range over[:max(0, len(over)-mostKept)] {
		p.end(pod, "many others ended after it")
	}
}

// Finished returns the condition that says how the Job has ended, Complete or Failed, and nil while it has not.
func Finished(job *batchv1.Job) *batchv1.JobCondition {
	for _, kind := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if isTrue(job.Status.Conditions, kind) {
			return find(job.Status.Conditions, kind)
		}
	}
	return nil
}
