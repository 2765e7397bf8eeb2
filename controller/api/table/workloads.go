package table

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
)

func more(n int) string { return fmt.Sprintf(" + %d more...", n) }

func containers(spec *corev1.PodSpec) (names, images string) {
	n, i := make([]string, len(spec.Containers)), make([]string, len(spec.Containers))
	for k := range spec.Containers {
		n[k], i[k] = spec.Containers[k].Name, spec.Containers[k].Image
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

func (t at) deployment(o *appsv1.Deployment) []any {
	names, images := containers(&o.Spec.Template.Spec)
	selector := "<invalid>"
	if s, err := metav1.LabelSelectorAsSelector(o.Spec.Selector); err == nil {
		selector = s.String()
	}
	return []any{
		o.Name, fmt.Sprintf("%d/%d", o.Status.ReadyReplicas, deref(o.Spec.Replicas, 1)), o.Status.UpdatedReplicas, o.Status.AvailableReplicas, t.age(o),
		names, images, selector,
	}
}

func (t at) replicaSet(o *appsv1.ReplicaSet) []any {
	names, images := containers(&o.Spec.Template.Spec)
	return []any{
		o.Name, deref(o.Spec.Replicas, 1), o.Status.Replicas, o.Status.ReadyReplicas, t.age(o), names, images, metav1.FormatLabelSelector(o.Spec.Selector),
	}
}

func (t at) replicationController(o *corev1.ReplicationController) []any {
	var names, images string
	if o.Spec.Template != nil {
		names, images = containers(&o.Spec.Template.Spec)
	}
	return []any{
		o.Name, deref(o.Spec.Replicas, 1), o.Status.Replicas, o.Status.ReadyReplicas, t.age(o), names, images, labels.FormatLabels(o.Spec.Selector),
	}
}

func (t at) statefulSet(o *appsv1.StatefulSet) []any {
	names, images := containers(&o.Spec.Template.Spec)
	return []any{o.Name, fmt.Sprintf("%d/%d", o.Status.ReadyReplicas, deref(o.Spec.Replicas, 1)), t.age(o), names, images}
}

func (t at) daemonSet(o *appsv1.DaemonSet) []any {
	names, images := containers(&o.Spec.Template.Spec)
	s := &o.Status
	return []any{
		o.Name, s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable,
		labels.FormatLabels(o.Spec.Template.Spec.NodeSelector), t.age(o), names, images, metav1.FormatLabelSelector(o.Spec.Selector),
	}
}

func (t at) controllerRevision(o *appsv1.ControllerRevision) []any {
	name := "<none>"
	if owner := metav1.GetControllerOfNoCopy(o); owner != nil {
		gk := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()
		name = strings.ToLower(gk.String()) + "/" + owner.Name
	}
	return []any{o.Name, name, o.Revision, t.age(o)}
}

func (t at) job(o *batchv1.Job) []any {
	completions := fmt.Sprintf("%d/1", o.Status.Succeeded)
	switch {
	case o.Spec.Completions != nil:
		completions = fmt.Sprintf("%d/%d", o.Status.Succeeded, *o.Spec.Completions)
	case deref(o.Spec.Parallelism, 0) > 1:
		completions = fmt.Sprintf("%d/1 of %d", o.Status.Succeeded, *o.Spec.Parallelism)
	}
	took := ""
	switch s := &o.Status; {
	case s.StartTime == nil:
	case s.CompletionTime == nil:
		took = duration.HumanDuration(t.now.Sub(s.StartTime.Time))
	default:
		took = duration.HumanDuration(s.CompletionTime.Sub(s.StartTime.Time))
	}
	names, images := containers(&o.Spec.Template.Spec)
	return []any{o.Name, jobStatus(o), completions, took, t.age(o), names, images, metav1.FormatLabelSelector(o.Spec.Selector)}
}

func jobStatus(o *batchv1.Job) string {
	is := map[batchv1.JobConditionType]bool{}
	for _, c := range o.Status.Conditions {
		is[c.Type] = c.Status == corev1.ConditionTrue
	}
	switch {
	case is[batchv1.JobComplete]:
		return "Complete"
	case is[batchv1.JobFailed]:
		return "Failed"
	case o.DeletionTimestamp != nil:
		return "Terminating"
	case is[batchv1.JobSuspended]:
		return "Suspended"
	case is[batchv1.JobFailureTarget]:
		return "FailureTarget"
	case is[batchv1.JobSuccessCriteriaMet]:
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func (t at) cronJob(o *batchv1.CronJob) []any {
	last := "<none>"
	if o.Status.LastScheduleTime != nil {
		last = t.since(*o.Status.LastScheduleTime)
	}
	suspend := "<unset>"
	if s := o.Spec.Suspend; s != nil {
		suspend = title(*s)
	}
	spec := &o.Spec.JobTemplate.Spec
	names, images := containers(&spec.Template.Spec)
	return []any{
		o.Name, o.Spec.Schedule, deref(o.Spec.TimeZone, "<none>"), suspend, len(o.Status.Active), last, t.age(o),
		names, images, metav1.FormatLabelSelector(spec.Selector),
	}
}

func title(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

func (t at) disruptionBudget(o *policyv1.PodDisruptionBudget) []any {
	least, most := "N/A", "N/A"
	if o.Spec.MinAvailable != nil {
		least = o.Spec.MinAvailable.String()
	}
	if o.Spec.MaxUnavailable != nil {
		most = o.Spec.MaxUnavailable.String()
	}
	return []any{o.Name, least, most, o.Status.DisruptionsAllowed, t.age(o)}
}

func (t at) autoscaler(o *autoscalingv2.HorizontalPodAutoscaler) []any {
	least := "<unset>"
	if o.Spec.MinReplicas != nil {
		least = fmt.Sprint(*o.Spec.MinReplicas)
	}
	ref := o.Spec.ScaleTargetRef.Kind + "/" + o.Spec.ScaleTargetRef.Name
	return []any{o.Name, ref, targets(o), least, o.Spec.MaxReplicas, o.Status.CurrentReplicas, t.age(o)}
}

// targets are what an autoscaler aims at, behind what is now.
func targets(o *autoscalingv2.HorizontalPodAutoscaler) string {
	if len(o.Spec.Metrics) == 0 {
		return "<none>"
	}
	var list []string
	for i := range o.Spec.Metrics {
		var now autoscalingv2.MetricStatus
		if i < len(o.Status.CurrentMetrics) {
			now = o.Status.CurrentMetrics[i]
		}
		list = append(list, targetOf(&o.Spec.Metrics[i], &now))
	}
	const shown = 2
	if len(list) > shown {
		return strings.Join(list[:shown], ", ") + more(len(list)-shown)
	}
	return strings.Join(list, ", ")
}

func targetOf(m *autoscalingv2.MetricSpec, now *autoscalingv2.MetricStatus) string {
	var current autoscalingv2.MetricValueStatus
	switch {
	case m.Resource != nil:
		if now.Resource != nil {
			current = now.Resource.Current
		}
		return string(m.Resource.Name) + ": " + nowAndTarget(&current, &m.Resource.Target)
	case m.ContainerResource != nil:
		if now.ContainerResource != nil {
			current = now.ContainerResource.Current
		}
		return string(m.ContainerResource.Name) + ": " + nowAndTarget(&current, &m.ContainerResource.Target)
	case m.Pods != nil:
		return nowAndTarget(&current, &m.Pods.Target)
	case m.Object != nil:
		return averaged(&m.Object.Target)
	case m.External != nil:
		return averaged(&m.External.Target)
	}
	return "<unknown type>"
}

func nowAndTarget(now *autoscalingv2.MetricValueStatus, t *autoscalingv2.MetricTarget) string {
	current := "<unknown>"
	switch {
	case t.AverageValue != nil:
		if now.AverageValue != nil {
			current = now.AverageValue.String()
		}
		return current + "/" + t.AverageValue.String()
	case t.AverageUtilization != nil:
		if now.AverageUtilization != nil {
			current = fmt.Sprintf("%d%%", *now.AverageUtilization)
		}
		return fmt.Sprintf("%s/%d%%", current, *t.AverageUtilization)
	case t.Value != nil:
		return current + "/" + t.Value.String()
	}
	return current + "/<auto>"
}

// averaged is the target of a metric that nothing here measures.
func averaged(t *autoscalingv2.MetricTarget) string {
	text := nowAndTarget(&autoscalingv2.MetricValueStatus{}, t)
	if t.AverageValue != nil {
		text += " (avg)"
	}
	return text
}
