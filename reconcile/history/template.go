package history

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// patch is what a ControllerRevision holds, in the form that `kubectl rollout` reads: a strategic merge patch of the workload.
type patch struct {
	Spec struct {
		Template json.RawMessage `json:"template"`
	} `json:"spec"`
}

// encode writes a template as a revision holds it, the same for the same.
func encode(t *corev1.PodTemplateSpec) []byte {
	// The types of the API always marshal, and a template is an object with fields.
	template, _ := json.Marshal(t)
	const before, after = `{"spec":{"template":{"$patch":"replace",`, `}}`
	data := make([]byte, 0, len(before)+len(template)+len(after))
	return append(append(append(data, before...), template[1:]...), after...)
}

// Template is the template that a revision holds.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var p patch
	t := &corev1.PodTemplateSpec{}
	err := json.Unmarshal(r.Data.Raw, &p)
	if err == nil {
		err = json.Unmarshal(p.Spec.Template, t)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the template of ControllerRevision %q: %w", r.Name, err)
	}
	return t, nil
}
