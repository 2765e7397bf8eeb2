package controller

import (
	"context"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // time zones of CronJobs, for machines that have none

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile"
	"berth/reconcile/cronjob"
	"berth/reconcile/job"
)

func (c *Controller) planJob(_ context.Context, it store.Item) (reconcile.Plan, error) {
	j, ok := it.Object.(*batchv1.Job)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	in := job.Input{
		Job: j, Pods: owned[*corev1.Pod](c.store, j.UID), Stated: it.Source != nil, Nonce: c.opts.Nonce(), Now: c.opts.Clock.Now(),
	}
	if owner := metav1.GetControllerOfNoCopy(j); owner != nil {
		maker, ok := store.Get[*batchv1.CronJob](c.store, reconcile.Key{Kind: owner.Kind, Namespace: j.Namespace, Name: owner.Name})
		in.Awaited = ok && maker.UID == owner.UID && cronjob.Unrecorded(maker, j)
	}
	return job.Plan(in), nil
}

func (c *Controller) planCronJob(_ context.Context, it store.Item) (reconcile.Plan, error) {
	cron, ok := it.Object.(*batchv1.CronJob)
	if !ok {
		return reconcile.Plan{}, misfiled(it)
	}
	return cronjob.Plan(cronjob.Input{
		CronJob: cron, Jobs: owned[*batchv1.Job](c.store, cron.UID), Location: location(cron), Now: c.opts.Clock.Now(),
	}), nil
}

// location is the time zone of a CronJob, nil for one that nobody knows. Without one the machine's own counts, as the control plane's does in
// Kubernetes.
func location(cron *batchv1.CronJob) *time.Location {
	if cron.Spec.TimeZone == nil {
		return time.Local
	}
	zone, err := time.LoadLocation(*cron.Spec.TimeZone)
	if err != nil {
		return nil
	}
	return zone
}

// immutableOfJob names the field of a Job that differs and must not, as a Kubernetes API server would.
func immutableOfJob(old, n *batchv1.Job) string {
	a, b := &old.Spec, &n.Spec
	same := apiequality.Semantic.DeepEqual
	indexed := b.CompletionMode != nil && *b.CompletionMode == batchv1.IndexedCompletion
	switch {
	case !same(a.Completions, b.Completions) && (!indexed || !same(b.Completions, b.Parallelism)):
		return "spec.completions" // an Indexed Job may grow and shrink together with its parallelism
	case !same(a.Selector, b.Selector):
		return "spec.selector"
	case !same(a.CompletionMode, b.CompletionMode):
		return "spec.completionMode"
	case !same(a.PodFailurePolicy, b.PodFailurePolicy):
		return "spec.podFailurePolicy"
	case !same(a.BackoffLimitPerIndex, b.BackoffLimitPerIndex):
		return "spec.backoffLimitPerIndex"
	case !same(a.ManagedBy, b.ManagedBy):
		return "spec.managedBy"
	case !same(a.SuccessPolicy, b.SuccessPolicy):
		return "spec.successPolicy"
	case !sameTemplate(old, b.Template.DeepCopy()):
		return "spec.template"
	}
	return ""
}

// sameTemplate compares the templates of Jobs. While a Job is suspended and has no pods, its resources and where they shall run may change.
func sameTemplate(old *batchv1.Job, n *corev1.PodTemplateSpec) bool {
	t := &old.Spec.Template
	if s := old.Spec.Suspend; s != nil && *s && old.Status.Active == 0 && old.Status.StartTime == nil {
		n.Labels, n.Annotations = t.Labels, t.Annotations
		n.Spec.NodeSelector, n.Spec.Affinity, n.Spec.Tolerations = t.Spec.NodeSelector, t.Spec.Affinity, t.Spec.Tolerations
		n.Spec.SchedulingGates = t.Spec.SchedulingGates
		takeResources(n.Spec.InitContainers, t.Spec.InitContainers)
		takeResources(n.Spec.Containers, t.Spec.Containers)
	}
	return apiequality.Semantic.DeepEqual(t, n)
}

func takeResources(to, from []corev1.Container) {
	for i := range min(len(to), len(from)) {
		to[i].Resources = from[i].Resources
	}
}

// jobRow tells of a Job: how many of its completions there are. It is done when it has run well, is suspended, or is another's
// to run.
func jobRow(w *Workload, j *batchv1.Job) {
	w.Desired = 1
	if n := j.Spec.Completions; n != nil {
		w.Desired = *n
	}
	w.Ready, w.Current = j.Status.Succeeded, j.Status.Active
	w.Available, w.Updated = w.Ready, w.Ready+w.Current
	switch end := job.Finished(j); {
	case job.Foreign(j):
		w.Done = true
	case end == nil:
		w.Done = j.Spec.Suspend != nil && *j.Spec.Suspend && w.Current == 0
	case end.Type == batchv1.JobComplete:
		w.Done = true
	default:
		w.Problem = fmt.Sprintf("%s: %s", end.Reason, end.Message)
	}
}

// cronJobRow tells of a CronJob, which is always as stated: its Jobs that run are not waited for.
func cronJobRow(w *Workload, cron *batchv1.CronJob) {
	n := int32(len(cron.Status.Active))
	w.Desired, w.Current, w.Ready, w.Available, w.Updated = n, n, n, n, n
	w.Done = true
}

// unfinished leaves out the pods whose failure is what a Job reckons with: it tries again until it has reached its limit.
func unfinished(pods []*corev1.Pod) []*corev1.Pod {
	crashing := func(s corev1.ContainerStatus) bool {
		return s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff"
	}
	return slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodFailed ||
			slices.ContainsFunc(p.Status.ContainerStatuses, crashing) || slices.ContainsFunc(p.Status.InitContainerStatuses, crashing)
	})
}
