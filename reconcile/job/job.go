// Package job decides which pods a Job makes and gives up, what counts as a success or a failure of it, and when it has come to its end.
//
// A pod is counted once, however often its Job is looked at and whatever crashes in between: what was counted is written down in the Job
// itself, in one change with the count (see record). Everything else is worked out anew from the pods that there are.
package job

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/reconcile"
)

// Input is what is known of one Job. Nothing in it is changed.
type Input struct {
	Job *batchv1.Job
	// Pods are all that the Job owns, by UID, those that are ending or have ended included.
	Pods []*corev1.Pod
	// Stated tells that a file states the Job. Such a Job stays when it has finished: were it forgotten, it would run again.
	Stated bool
	// Awaited tells that somebody has yet to take note of the Job, so that it is not forgotten even when its time is over.
	Awaited bool
	// Nonce makes the names of new pods: the same one in the same pass gives the same names, a fresh one fresh names.
	Nonce uint64
	Now   time.Time
}

// mostAtOnce is how many pods one pass makes or ends, as in Kubernetes; the next pass goes on.
const mostAtOnce = 500

// Plan returns what is to be written down first, then the pods to end and to make. A Job that has finished, and one that another
// controller manages, is left alone.
func Plan(in Input) reconcile.Plan {
	p := newPass(in)
	switch {
	case Foreign(in.Job), in.Job.DeletionTimestamp != nil:
		return reconcile.Plan{}
	case Finished(in.Job) != nil:
		p.tidyUp()
	default:
		p.countPods()
		p.decide()
		p.report()
		p.dropOld()
	}
	return p.plan()
}

// Foreign tells whether another controller is to run the Job.
func Foreign(job *batchv1.Job) bool {
	by := job.Spec.ManagedBy
	return by != nil && *by != batchv1.JobControllerName
}

// pass is one look at one Job.
type pass struct {
	in   Input
	job  *batchv1.Job
	spec *batchv1.JobSpec
	key  reconcile.Key

	status batchv1.JobStatus // as it is to be
	record record

	// completed and failedIndexes are those of an Indexed Job.
	completed, failedIndexes indexes
	active                   []*corev1.Pod
	created                  int // pods that this pass makes
	terminating              int32
	cause                    string // why a failed pod ends the Job, by its policy
	before, after            []reconcile.Action
	next                     time.Duration
}

func newPass(in Input) *pass {
	job := in.Job
	p := &pass{
		in: in, job: job, spec: &job.Spec, status: *job.Status.DeepCopy(), record: recordOf(job),
		key: reconcile.Key{Kind: reconcile.KindJob, Namespace: job.Namespace, Name: job.Name},
	}
	p.in.Pods = slices.Clone(in.Pods)
	slices.SortFunc(p.in.Pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return p
}

// plan puts what is written down before what is done: a pod that the Job gives up must not look like a failure to the next pass.
func (p *pass) plan() reconcile.Plan {
	plan := reconcile.Plan{RequeueAfter: p.next}
	updated := *p.job // what is not of the status is shared: nobody writes into an object
	updated.Status = p.status
	updated.Annotations = p.record.in(p.job.Annotations)
	if !apiequality.Semantic.DeepEqual(&p.status, &p.job.Status) || updated.Annotations[reconcile.AnnotationRecord] != p.job.Annotations[reconcile.AnnotationRecord] {
		plan.Actions = append(plan.Actions, reconcile.UpdateStatus{Object: &updated})
	}
	plan.Actions = append(append(plan.Actions, p.before...), p.after...)
	return plan
}

// again asks for another look after a while, or earlier.
func (p *pass) again(after time.Duration) {
	if after = max(after, time.Millisecond); p.next == 0 || after < p.next {
		p.next = after
	}
}

// set writes a condition; what it said before is gone.
func (p *pass) set(kind batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(p.in.Now)
	c := batchv1.JobCondition{Type: kind, Status: status, LastProbeTime: now, LastTransitionTime: now, Reason: reason, Message: message}
	if was := find(p.status.Conditions, kind); was != nil {
		*was = c
		return
	}
	p.status.Conditions = append(p.status.Conditions, c)
}

func find(list []batchv1.JobCondition, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range list {
		if list[i].Type == kind {
			return &list[i]
		}
	}
	return nil
}

func isTrue(list []batchv1.JobCondition, kind batchv1.JobConditionType) bool {
	c := find(list, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}

// end ends a pod.
func (p *pass) end(pod *corev1.Pod, why string) {
	p.before = append(p.before, reconcile.DeletePod{
		Key: reconcile.Key{Kind: reconcile.KindPod, Namespace: pod.Namespace, Name: pod.Name}, UID: pod.UID, Reason: why,
	})
	p.note(false, "SuccessfulDelete", "Deleted pod: "+pod.Name)
}

func (p *pass) note(warning bool, reason, message string) {
	p.after = append(p.after, reconcile.RecordEvent{Key: p.key, UID: p.job.UID, Warning: warning, Reason: reason, Message: message})
}

func (p *pass) suspended() bool { return p.spec.Suspend != nil && *p.spec.Suspend }

func (p *pass) indexed() bool {
	return p.spec.CompletionMode != nil && *p.spec.CompletionMode == batchv1.IndexedCompletion && p.spec.Completions != nil
}

// onlyFailed tells that a pod is replaced when it has ended, not already when it is ending.
func (p *pass) onlyFailed() bool {
	policy := p.spec.PodReplacementPolicy
	return policy != nil && *policy == batchv1.Failed || p.spec.PodFailurePolicy != nil
}

// index is the completion index of a pod, or -1 where it has none that counts.
func (p *pass) index(pod *corev1.Pod) int {
	n, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || n < 0 || !p.indexed() || n >= int(*p.spec.Completions) {
		return -1
	}
	return n
}

func value(n *int32, otherwise int32) int32 {
	if n == nil {
		return otherwise
	}
	return *n
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func ready(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
