package job

import (
	"fmt"
	"maps"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth/reconcile"
)

// indexVariable tells a container its completion index.
const indexVariable = "JOB_COMPLETION_INDEX"

// Labels of before Kubernetes 1.27, which it still gives to pods.
const (
	legacyNameLabel = "job-name"
	legacyUIDLabel  = "controller-uid"
)

// create makes a pod of the template, for an index or, with -1, for none. The executor adds its UID.
func (p *pass) create(names *reconcile.Names, i int) {
	t := p.spec.Template.DeepCopy()
	infix := "-"
	if i >= 0 {
		infix = "-" + strconv.Itoa(i) + "-"
	}
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: reconcile.KindPod},
		ObjectMeta: metav1.ObjectMeta{
			Name: names.Next(p.job.Name, infix), GenerateName: p.job.Name + infix, Namespace: p.job.Namespace,
			Labels: t.Labels, Annotations: t.Annotations,
			CreationTimestamp: metav1.NewTime(p.in.Now),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(p.job, batchv1.SchemeGroupVersion.WithKind(reconcile.KindJob))},
		},
		Spec:   t.Spec,
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	if p.spec.ManualSelector == nil || !*p.spec.ManualSelector {
		pod.Labels = withLabels(pod.Labels, p.job.Name, p.job.UID)
	}
	if i >= 0 {
		p.give(pod, i)
	}
	p.created++
	p.after = append(p.after, reconcile.CreatePod{Pod: pod})
	p.note(false, "SuccessfulCreate", "Created pod: "+pod.Name)
}

// give gives a pod its index: in an annotation, a label, its host name and its containers' environment.
func (p *pass) give(pod *corev1.Pod, i int) {
	text := strconv.Itoa(i)
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = text
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = text
	if p.spec.BackoffLimitPerIndex != nil {
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(int(p.record.failures[i]))
	}
	pod.Spec.Hostname = p.job.Name + "-" + text
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for c := range list {
			list[c].Env = withIndex(list[c].Env)
		}
	}
}

// withIndex adds the variable where the file does not state one of that name.
func withIndex(env []corev1.EnvVar) []corev1.EnvVar {
	for i := range env {
		if env[i].Name == indexVariable {
			return env
		}
	}
	return append(env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation)},
	}})
}

// withLabels adds what an API server adds to the template, so that selectors of others find the pods.
func withLabels(labels map[string]string, name string, uid types.UID) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[legacyNameLabel], out[batchv1.JobNameLabel] = name, name
	out[legacyUIDLabel], out[batchv1.ControllerUidLabel] = string(uid), string(uid)
	return out
}
