package manifests

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	appsv1beta1 "k8s.io/api/apps/v1beta1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// modernize turns an object of a removed version into the current one. What the old version let out and the current one asks for is
// filled in the way the old one did.
func modernize(obj kruntime.Object, from, to schema.GroupVersionKind) (kruntime.Object, error) {
	if from == to {
		return obj, nil
	}
	if to.Kind == "Ingress" {
		Scheme().Default(obj) // the old default of pathType, which has none today
	}
	countReplicas(obj)
	internal, err := Scheme().New(to.GroupKind().WithVersion(kruntime.APIVersionInternal))
	if err != nil {
		return nil, err
	}
	if err := Scheme().Convert(obj, internal, nil); err != nil {
		return nil, err
	}
	current, err := Scheme().New(to)
	if err != nil {
		return nil, err
	}
	if err := Scheme().Convert(internal, current, nil); err != nil {
		return nil, err
	}
	selectTemplate(current)
	return current, nil
}

// countReplicas says what a workload means that states no replicas: the internal form that it goes through has a number there, not none.
func countReplicas(obj kruntime.Object) {
	fill := func(n **int32) {
		if *n == nil {
			*n = new(int32(1))
		}
	}
	switch o := obj.(type) {
	case *extensionsv1beta1.Deployment:
		fill(&o.Spec.Replicas)
	case *extensionsv1beta1.ReplicaSet:
		fill(&o.Spec.Replicas)
	case *appsv1beta1.Deployment:
		fill(&o.Spec.Replicas)
	case *appsv1beta1.StatefulSet:
		fill(&o.Spec.Replicas)
	}
}

// selectTemplate gives a workload without a selector the labels of its template, as extensions/v1beta1 did.
func selectTemplate(obj kruntime.Object) {
	fill := func(sel **metav1.LabelSelector, labels map[string]string) {
		if *sel == nil && len(labels) > 0 {
			*sel = &metav1.LabelSelector{MatchLabels: maps.Clone(labels)}
		}
	}
	switch o := obj.(type) {
	case *appsv1.Deployment:
		fill(&o.Spec.Selector, o.Spec.Template.Labels)
	case *appsv1.ReplicaSet:
		fill(&o.Spec.Selector, o.Spec.Template.Labels)
	case *appsv1.DaemonSet:
		fill(&o.Spec.Selector, o.Spec.Template.Labels)
	case *appsv1.StatefulSet:
		fill(&o.Spec.Selector, o.Spec.Template.Labels)
	}
}

// rewriteAutoscaler reads a version of the HorizontalPodAutoscaler whose types exist no more: v2beta1 wrote the metrics differently.
func (o *objectReader) rewriteAutoscaler(from schema.GroupVersionKind) schema.GroupVersionKind {
	if from.Group != "autoscaling" || from.Version != "v2beta1" {
		return from
	}
	if metrics := o.root.value("spec").value("metrics"); metrics != nil {
		for _, m := range metrics.items {
			for i := range m.fields {
				if src := m.fields[i].value; src != nil && src.shape == mapShape && src.get("target") == nil || m.fields[i].name == "object" {
					modernMetric(m.fields[i].value)
				}
			}
		}
	}
	from.Version = "v2"
	return from
}

// modernMetric moves the fields of a v2beta1 metric source to where v2 has them.
func modernMetric(src *node) {
	target, metric := newMap(src), newMap(src)
	ref := src.get("target")
	var kept []entry
	for _, e := range src.fields {
		switch e.name {
		case "targetAverageUtilization":
			target.typed(e, "Utilization", "averageUtilization")
		case "targetAverageValue", "averageValue":
			target.typed(e, "AverageValue", "averageValue")
		case "targetValue":
			target.typed(e, "Value", "value")
		case "metricName":
			e.name = "name"
			metric.set(e)
		case "selector", "metricSelector":
			e.name = "selector"
			metric.set(e)
		case "target":
			if ref != nil {
				e.name = "describedObject"
				kept = append(kept, e)
			}
		default:
			kept = append(kept, e)
		}
	}
	src.fields, src.index = nil, nil
	for _, e := range kept {
		src.set(e)
	}
	for name, n := range map[string]*node{"target": target, "metric": metric} {
		if len(n.fields) > 0 {
			src.set(entry{name: name, line: src.line, col: src.col, value: n})
		}
	}
}

func newMap(like *node) *node { return &node{shape: mapShape, line: like.line, col: like.col} }

func (n *node) typed(e entry, kind, name string) {
	n.set(entry{name: "type", line: e.line, col: e.col, value: &node{shape: stringShape, line: e.line, col: e.col, text: kind, source: kind}})
	e.name = name
	n.set(e)
}
