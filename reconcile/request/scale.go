package request

import (
	"encoding/json"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"berth/reconcile"
)

// Scale is kept beside a workload whose number of replicas an autoscaler decides.
type Scale struct {
	// By is the name of the HorizontalPodAutoscaler.
	By       string `json:"by"`
	Replicas int32  `json:"replicas"`
	// File is what the file states, nil for nothing.
	File *int32 `json:"file,omitempty"`
}

// ReadScale reads the Scale of a workload with these annotations. One that cannot be read is none.
func ReadScale(annotations map[string]string) (Scale, bool) {
	var s Scale
	text := annotations[AnnotationScale]
	if text == "" || json.Unmarshal([]byte(text), &s) != nil || s.By == "" {
		return Scale{}, false
	}
	return s, true
}

// String is the form in which it is kept.
func (s Scale) String() string {
	data, err := json.Marshal(s)
	if err != nil {
		return "" // strings and numbers always marshal
	}
	return string(data)
}

// Replicas is the field of a workload that says how many pods there shall be; nil for what has none.
func Replicas(obj reconcile.Object) **int32 {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Replicas
	case *appsv1.ReplicaSet:
		return &o.Spec.Replicas
	case *appsv1.StatefulSet:
		return &o.Spec.Replicas
	case *corev1.ReplicationController:
		return &o.Spec.Replicas
	}
	return nil
}

// Scaled makes a workload, a copy of its own that its file has just stated, as large as the Scale among its annotations says, and notes there what the file
// states. A file that states 0 ends the scaling.
func Scaled(obj reconcile.Object) {
	field := Replicas(obj)
	s, scaled := ReadScale(obj.GetAnnotations())
	if field == nil || !scaled {
		return
	}
	if *field != nil && **field == 0 { // who states none wants none, and no autoscaler
		obj.SetAnnotations(With(obj.GetAnnotations(), AnnotationScale, ""))
		return
	}
	s.File = *field
	n := s.Replicas
	*field = &n
	obj.SetAnnotations(With(obj.GetAnnotations(), AnnotationScale, s.String()))
}
