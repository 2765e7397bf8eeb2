package api

import (
	"maps"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"berth/controller/store"
	"berth/reconcile/request"
)

// What Kubernetes writes into an object and no file shall say is kept beside it (package request). Here it is shown where clients of Kubernetes
// look for it, and taken out of what they send.

// present is an object as Kubernetes would show it. It is not changed.
func present(obj store.Object) store.Object {
	if job, ok := obj.(*batchv1.Job); ok {
		return withoutHidden(selecting(job))
	}
	notes := obj.GetAnnotations()
	at, paused := notes[request.AnnotationRestartedAt], request.Paused(notes)
	obj = withoutHidden(obj)
	if at == "" && !paused {
		return obj
	}
	switch o := obj.(type) {
	case *appsv1.Deployment:
		n := *o
		n.Spec.Template = request.Template(&o.Spec.Template, at)
		n.Spec.Paused = o.Spec.Paused || paused
		return &n
	case *appsv1.StatefulSet:
		n := *o
		n.Spec.Template = request.Template(&o.Spec.Template, at)
		return &n
	case *appsv1.DaemonSet:
		n := *o
		n.Spec.Template = request.Template(&o.Spec.Template, at)
		return &n
	}
	return obj
}

// withoutHidden is an object without the annotations that are nobody's to read.
func withoutHidden(obj store.Object) store.Object {
	notes := obj.GetAnnotations()
	for name := range notes {
		if !request.Hidden(name) {
			continue
		}
		notes = maps.Clone(notes)
		if maps.DeleteFunc(notes, func(name, _ string) bool { return request.Hidden(name) }); len(notes) == 0 {
			notes = nil
		}
		obj = shallow(obj)
		obj.SetAnnotations(notes)
		break
	}
	return obj
}

// selecting is a Job with the selector that Kubernetes writes into it, by which kubectl logs finds its pods.
func selecting(job *batchv1.Job) *batchv1.Job {
	if job.Spec.Selector != nil || job.UID == "" {
		return job
	}
	n, uid := *job, string(job.UID)
	n.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: uid}}
	labels := maps.Clone(job.Spec.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, name := range uidLabels {
		labels[name] = uid
	}
	for _, name := range nameLabels {
		labels[name] = job.Name
	}
	n.Spec.Template.Labels = labels
	return &n
}

// The labels of a Job's pods.
var (
	uidLabels  = []string{batchv1.ControllerUidLabel, "controller-uid"}
	nameLabels = []string{batchv1.JobNameLabel, "job-name"}
)

// takeSelector takes out again what selecting has added.
func takeSelector(job *batchv1.Job, obj map[string]any) {
	spec, ok := obj["spec"].(map[string]any)
	if !ok || job.Spec.Selector != nil {
		return
	}
	if on, _ := below(maps.Clone(spec), "selector")["matchLabels"].(map[string]any); on[batchv1.ControllerUidLabel] == string(job.UID) {
		delete(spec, "selector")
	}
	template, ok := spec["template"].(map[string]any)
	if !ok {
		return
	}
	if meta, ok := template["metadata"].(map[string]any); ok {
		had := job.Spec.Template.Labels
		withoutKeys(meta, "labels", func(name string) bool {
			return had[name] == "" && (slices.Contains(uidLabels, name) || slices.Contains(nameLabels, name))
		})
	}
}

// asides are what a client wishes that no file says.
type asides struct {
	applied string // the annotation of kubectl apply, "" for none
	before  string // the one that the client saw
	managed []metav1.ManagedFieldsEntry
	restart bool
	pause   *bool // a change of spec.paused that is all there is
}

// notes are the annotations among them.
func (a *asides) notes() map[string]string {
	if a.applied == "" {
		return nil
	}
	return map[string]string{lastApplied: a.applied}
}

// takeAsides takes them out of what the client saw and wishes.
func takeAsides(kind string, stored store.Object, seen, wish map[string]any) asides {
	var a asides
	notes, _ := below(wish, "metadata")["annotations"].(map[string]any)
	a.applied, _ = notes[corev1.LastAppliedConfigAnnotation].(string)
	notes, _ = below(seen, "metadata")["annotations"].(map[string]any)
	a.before, _ = notes[corev1.LastAppliedConfigAnnotation].(string)
	restarted := podRestart(wish)
	a.restart = restarted != "" && restarted != podRestart(seen)
	for _, obj := range []map[string]any{seen, wish} {
		if meta, ok := obj["metadata"].(map[string]any); ok {
			withoutKeys(meta, "annotations", request.Beside)
		}
		if job, ok := stored.(*batchv1.Job); ok {
			takeSelector(job, obj)
		}
		if isWorkload(kind) {
			if spec, ok := obj["spec"].(map[string]any); ok {
				if template, ok := spec["template"].(map[string]any); ok {
					if meta, ok := template["metadata"].(map[string]any); ok {
						withoutKeys(meta, "annotations", func(name string) bool { return name == request.AnnotationPodsRestarted })
					}
				}
			}
		}
	}
	if d, ok := stored.(*appsv1.Deployment); ok && !d.Spec.Paused { // what the file pauses the file resumes
		a.pause = takePause(seen, wish)
	}
	return a
}

// withApplied is an object with the annotation of kubectl apply: it has an owner like any field, by which kubectl finds out whether it has to take
// over what it applied before the server did.
func withApplied(obj map[string]any, text string) map[string]any {
	if text == "" {
		return obj
	}
	out, meta := maps.Clone(obj), maps.Clone(below(obj, "metadata"))
	notes, _ := meta["annotations"].(map[string]any)
	if notes = maps.Clone(notes); notes == nil {
		notes = map[string]any{}
	}
	notes[corev1.LastAppliedConfigAnnotation] = text
	meta["annotations"], out["metadata"] = notes, meta
	return out
}

// takePause finds out whether nothing but spec.paused is to be changed, as kubectl rollout pause and resume do.
func takePause(seen, wish map[string]any) *bool {
	was, is := below(seen, "spec"), below(wish, "spec")
	before, _ := was["paused"].(bool)
	after, _ := is["paused"].(bool)
	if before == after {
		return nil
	}
	s, w := maps.Clone(was), maps.Clone(is)
	delete(s, "paused")
	delete(w, "paused")
	if !reflect.DeepEqual(s, w) {
		return nil
	}
	delete(was, "paused")
	delete(is, "paused")
	return &after
}

func isWorkload(kind string) bool {
	return kind == "Deployment" || kind == "StatefulSet" || kind == "DaemonSet"
}

func podRestart(obj map[string]any) string {
	spec, _ := obj["spec"].(map[string]any)
	template, _ := spec["template"].(map[string]any)
	meta, _ := template["metadata"].(map[string]any)
	notes, _ := meta["annotations"].(map[string]any)
	at, _ := notes[request.AnnotationPodsRestarted].(string)
	return at
}

// withoutKeys takes keys out of the map below a name, and the map when it is empty then.
func withoutKeys(obj map[string]any, name string, out func(string) bool) {
	m, ok := obj[name].(map[string]any)
	if !ok {
		return
	}
	maps.DeleteFunc(m, func(key string, _ any) bool { return out(key) })
	if len(m) == 0 {
		delete(obj, name)
	}
}
